"""What a reviewer and a stranger get through the review link: raw HTTP against its port."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from studio.records.character import Character
from studio.records.image import ImageRecord, Kind, Verdict
from studio.workplace.desk import Workplace
from tabs import reviewer
from tabs.entrance import Door, Entrance, Term, called
from tabs.sharing import ReviewLink
from tests.tabs.colour_blocks import picture, png
from tests.tabs.conftest import House, no_way_out
from tests.tabs.reviewing import edits_of, login, send_vote

pytestmark = pytest.mark.slow


def refused(client: httpx.Client, path: str) -> bool:
    """Whether a call is answered with an error, or with a closed door."""
    try:
        return client.post(path, json={"data": []}).status_code >= 400
    except httpx.TransportError:
        return True


WAYS_IN = (
    "/config",
    "/gradio_api/info",
    "/gradio_api/openapi.json",
    "/gradio_api/run/character_list",
    "/gradio_api/call/character_list",
    "/gradio_api/queue/join",
    "/gradio_api/upload",
    "/gradio_api/component_server",
    "/monitoring",
)


def test_without_the_password_nothing_answers(link: dict[str, Any]) -> None:
    """Every way in is shut, whether it is asked or told."""
    with httpx.Client(base_url=link["local_url"], trust_env=False) as client:
        for path in WAYS_IN:
            assert client.get(path).status_code in (401, 404, 405), path
            assert client.post(path, json={"data": []}).status_code in (401, 404, 405, 422), path


def test_before_login_the_page_says_nothing_of_the_studio(link: dict[str, Any], vera: Character, house: House) -> None:
    """No character, no path, no endpoint in what a stranger receives."""
    with httpx.Client(base_url=link["local_url"], trust_env=False) as client:
        text = "".join(client.get(path).text for path in ("/", "/manifest.json", "/robots.txt", "/theme.css"))
    home = str(house.studio.settings.data_root)
    for secret in ("FLENwheel", vera.name, vera.id, home, "character_list", "review_decide"):
        assert secret not in text


def test_a_reviewer_finds_no_endpoint_of_the_studio(link: dict[str, Any]) -> None:
    """The names of the scripted surface mean nothing on this port."""
    with login(link) as client:
        known = client.get("/gradio_api/info").text + client.get("/config").text
        for name in ("character_list", "image_import", "train_submit", "share_stop", "job_list"):
            assert name not in known
            for way in ("run", "call"):
                assert refused(client, f"/gradio_api/{way}/{name}"), name


def test_a_reviewer_reads_no_file_of_the_studio(link: dict[str, Any], house: House, vera: Character) -> None:
    """Neither pictures nor database nor the studio's cache nor anything else of the machine."""
    store = house.studio.store(vera.id)
    image = store.add_image(png(picture(1)), kind=Kind.SOURCE)
    cached = house.studio.settings.data_root / "cache" / "pages" / "studio" / "seen.txt"
    cached.write_text("secret")
    wanted = [store.path(image.id), store.thumb(image.id), store.folder / "flenwheel.json", cached, "/etc/hostname"]
    with login(link) as client:
        for path in wanted:
            assert client.get(f"/gradio_api/file={path}").status_code in (403, 404)


def test_the_page_holds_pictures_but_no_path_and_no_metadata(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """What a reviewer sees lies in the page itself."""
    source = add()
    add(Kind.ENRICHED, parent=source.id, asked={"expression": "smiling"}, params={"instruction": "secret words"})
    shown = reviewer.page(studio.desk(anna.id), "guest:reviewer", reviewer.Hand())
    assert shown.count("data:image/webp;base64,") == 2
    assert "smiling" in shown
    for secret in (str(studio.settings.data_root), "file=", anna.name, "secret words", source.name):
        assert secret not in shown


def test_a_reviewer_votes_in_their_own_name_and_only_on_the_queue(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """A source, or a picture that is decided already, cannot be voted on."""
    source = add()
    edit = add(Kind.ENRICHED, parent=source.id)
    reviewer.press(studio.desk(anna.id), "guest:reviewer", {"act": "good", "id": edit.id}, reviewer.Hand())
    reviewer.press(studio.desk(anna.id), "guest:reviewer", {"act": "reject", "id": source.id}, reviewer.Hand())
    reviewer.press(studio.desk(anna.id), "guest:reviewer", {"act": "trash", "id": edit.id}, reviewer.Hand())
    store = studio.store(anna.id)
    assert store.images.get(edit.id).state is Verdict.GOOD
    assert store.images.get(edit.id).reviewer == "guest:reviewer"
    assert store.images.get(source.id).state is Verdict.PENDING


def test_a_reviewer_undoes_only_their_own_votes(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """The owner's verdict stays."""
    edit = add(Kind.ENRICHED, parent=add().id)
    studio.store(anna.id).decide(edit.id, Verdict.REJECT, reviewer="owner")
    reviewer.press(studio.desk(anna.id), "guest:reviewer", {"act": "undo"}, reviewer.Hand())
    assert studio.store(anna.id).images.get(edit.id).state is Verdict.REJECT


def test_reasons_go_with_a_guests_next_vote_and_no_other(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """A chip that is pressed again is off; words that are no reason of the page are dropped."""
    first, second = (add(Kind.ENRICHED, parent=add().id) for _ in range(2))
    desk, hand, name = studio.desk(anna.id), reviewer.Hand(), "guest:a.1 Lena"
    for reason in ("artifact", "identity", "artifact", "whatever"):
        hand = reviewer.press(desk, name, {"act": "reason", "reason": reason}, hand)
    assert hand.reasons == ("identity",)
    assert 'class="fl-button small on" data-act="reason"' in reviewer.page(desk, name, hand)
    for image in (first, second):
        hand = reviewer.press(desk, name, {"act": "reject", "id": image.id}, hand)
    assert [desk.store.images.get(each.id).reasons for each in (first, second)] == [("identity",), ()]


def test_reasons_stay_where_nothing_could_be_stored(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """A key that the studio refuses changes nothing; reasons for a picture that another person decided go with it."""
    first, _ = (add(Kind.ENRICHED, parent=add().id) for _ in range(2))
    desk, hand, name = studio.desk(anna.id), reviewer.Hand((first.id,), ("identity",)), "guest:a.1 Lena"
    assert reviewer.press(desk, name, {"act": "undo"}, hand) == hand
    desk.store.decide(first.id, Verdict.GOOD)
    assert reviewer.press(desk, name, {"act": "reject", "id": first.id}, hand) == reviewer.Hand((first.id,))


def test_the_page_says_how_far_a_guest_is_and_who(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """Of what there was when the guest began, as far as others leave it."""
    edits = [add(Kind.ENRICHED, parent=add().id) for _ in range(3)]
    desk = studio.desk(anna.id)
    hand = reviewer.press(desk, "guest:a.1 Lena", {"act": "good", "id": edits[0].id}, reviewer.Hand())
    shown = reviewer.page(desk, "guest:a.1 Lena", hand)
    assert "1 of 3" in shown
    assert "Lena" in shown


def test_a_guest_who_skips_all_goes_round(studio: Workplace, anna: Character, add: Callable[..., ImageRecord]) -> None:
    """Once every picture is skipped, they come again in the order in which they were skipped, each Skip to the next."""
    edits = {add(Kind.ENRICHED, parent=add().id).id for _ in range(3)}
    desk, hand, seen = studio.desk(anna.id), reviewer.Hand(), list[str]()
    for _ in range(7):
        shown = reviewer.page(desk, "guest:a.1 Lena", hand)
        seen += [each for each in edits if f'data-stage data-id="{each}"' in shown]
        hand = reviewer.press(desk, "guest:a.1 Lena", {"act": "skip", "id": seen[-1]}, hand)
    assert set(seen[:3]) == edits
    assert seen == [*seen[:3], *seen[:3], seen[0]]


@pytest.mark.parametrize(
    ("given", "name"),
    [("  Lena  M. ", "Lena M."), ("<b>x</b>", "bxb"), ("", ""), ("a" * 90, "a" * 24), ("Ä\n|é", "Äé"), ("李", "李")],
)
def test_a_guests_name_is_short_and_plain(given: str, name: str) -> None:
    """It is shown to the owner and stored with the votes."""
    assert called(given) == name


def test_the_door_lets_in_the_right_one_until_it_ends() -> None:
    """Right name, right password, still open."""
    open_for = [True]
    door = Door("secret", lambda: open_for[0])
    assert door("reviewer", "secret")
    assert not door("reviewer", "wrong")
    assert not door("owner", "secret")
    open_for[0] = False
    assert not door("reviewer", "secret")


def test_wrong_passwords_lock_nobody_out(link: dict[str, Any]) -> None:
    """However many come, from the same client too, the right one goes in."""
    wrong = {"username": link["user"], "password": "guess"}
    with httpx.Client(base_url=link["local_url"], trust_env=False) as client, ThreadPoolExecutor(20) as pool:
        assert {each.status_code for each in pool.map(lambda _: client.post("/login", data=wrong), range(60))} == {400}
    with login(link) as client:
        assert client.get("/config").status_code == 200


def test_a_browsers_form_is_led_to_the_page_or_told(link: dict[str, Any]) -> None:
    """The login is a page of its own: a wrong password comes back in words, the right one leads on."""
    browser = {"Accept": "text/html"}
    with httpx.Client(base_url=link["local_url"], trust_env=False, headers=browser) as client:
        page = client.get("/").text
        assert 'name="password"' in page
        assert "gradio" not in page.lower()
        told = client.post("/login", data={"username": "reviewer", "password": "x"})
        assert (told.status_code, "not right" in told.text) == (400, True)
        led = client.post("/login", data={"username": " reviewer ", "password": f" {link['password']} "})
        assert (led.status_code, led.headers["location"]) == (303, "./")
        assert "samesite=lax" in led.headers["set-cookie"].lower()
        assert "gradio" in client.get("/").text


def test_a_strangers_body_is_not_read(link: dict[str, Any]) -> None:
    """Whatever is sent without a login is refused before it is parsed, with a length and without."""
    for path in ("/gradio_api/run/predict", "/gradio_api/queue/join", "/gradio_api/upload", "/login"):
        for body in (bytes(8 << 20), (bytes(1 << 16) for _ in range(128))):
            with contextlib.suppress(httpx.TransportError):  # when it hangs up before all is sent
                answer = httpx.post(link["local_url"] + path, content=body, trust_env=False)
                assert answer.status_code in (401, 413), path


def test_a_reviewers_call_has_a_size(link: dict[str, Any]) -> None:
    """A vote is small; what is larger than 64 KiB is none."""
    with login(link) as client:
        assert client.post("/gradio_api/run/predict", content=bytes(65 << 10)).status_code == 413
        assert client.post("/gradio_api/run/predict", content=iter([bytes(65 << 10)])).status_code == 413


def test_a_reviewer_can_ask_for_the_page_alone(link: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> None:
    """Uploads, files, streams and unknown names are not found, without a traceback each."""
    with login(link) as client:
        assert client.post("/gradio_api/upload", files={"files": ("a", b"x")}).status_code == 404
        for path in ("component_server", "queue/join", "call/x", "run/x", "cancel", "reset", "run-history/connect"):
            assert client.post(f"/gradio_api/{path}", json={"data": []}).status_code == 404, path
        for path in ("file=/etc/hostname", "proxy=http://127.0.0.1", "runs", "deep_link?session_hash=a", "dev/reload"):
            assert client.get(f"/gradio_api/{path}").status_code == 404, path
        wrong: tuple[object, ...] = (
            {"data": [[], []], "fn_index": 999},
            {"data": [], "fn_index": 1},
            {"data": [[], [], 5], "fn_index": 1},
            {"data": [[], []], "fn_index": 1, "event_data": [1]},
            {"data": [[], []], "fn_index": "one"},
            [],
        )
        for asked in wrong:
            assert client.post("/gradio_api/run/predict", json=asked).status_code == 404, asked
    said = capfd.readouterr()
    assert "Traceback" not in said.out + said.err


@pytest.mark.parametrize("origin", ["https://evil.example", "http://localhost:1", "null"])
def test_no_other_website_reads_or_votes_with_the_cookie(link: dict[str, Any], origin: str) -> None:
    """Behind a tunnel's name as on this machine: what another page sends is refused, and no header lets it read."""
    for host in ("abc.gradio.live", "127.0.0.1"):
        with login(link) as client:
            headers = {"Origin": origin, "Host": host}
            for answer in (
                client.get("/config", headers=headers),
                client.post("/gradio_api/run/predict", json={"data": []}, headers=headers),
            ):
                assert answer.status_code == 403
                assert "access-control-allow-origin" not in answer.headers


def test_every_login_is_a_guest_of_its_own(house: House) -> None:
    """A later guest, of the same link or of the next, takes back no other's vote, and their votes can be told apart."""
    who, edits = edits_of(house, "Wanda", 3)
    store, opened = house.studio.store(who.id), ReviewLink(house.studio)
    with no_way_out():
        link = opened.start(who.id, 1.0)
        with login(link) as first, login(link) as second:
            assert send_vote(first, "good", edits[0]) == 200
            assert send_vote(second, "undo") == 200
            assert send_vote(second, "reject", edits[1]) == 200
        with login(opened.start(who.id, 1.0)) as third:
            assert send_vote(third, "undo") == 200
            assert send_vote(third, "good", edits[2]) == 200
    opened.stop()
    assert [store.images.get(each).state for each in edits] == [Verdict.GOOD, Verdict.REJECT, Verdict.GOOD]
    names = {store.images.get(each).reviewer for each in edits}
    assert len(names) == 3
    assert all(name.endswith(".1") or name.endswith(".2") for name in names)  # none of them gave a name
    assert all(name.startswith("guest:") for name in names)


def test_a_page_that_is_open_is_told_the_end(studio: Workplace, anna: Character) -> None:
    """Between the end of the time and the end of the server everything is answered that it has ended."""
    term = Term(datetime.now(UTC) + timedelta(hours=1))
    entrance = Entrance(
        PlainTextResponse("inside"), Door("secret", term), term, studio.settings.assets / "ui", reviewer.is_call
    )
    client = TestClient(entrance)
    assert client.post("/login", data={"username": "reviewer", "password": "secret"}).status_code == 200
    assert client.get("/").text == "inside"
    term.end()
    for answer in (client.get("/"), client.post("/gradio_api/run/predict", json={}), client.post("/login")):
        assert answer.status_code == 410
        assert "has ended" in answer.text


def test_the_character_stands_above_the_picture_to_judge(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """An edit's source first, then originals, and what good means there; a drawn picture has originals alone."""
    source, *_ = [add() for _ in range(4)]
    edit = add(Kind.ENRICHED, parent=source.id, asked={"expression": "smiling"})
    desk = studio.desk(anna.id)
    shown = reviewer.page(desk, "guest:reviewer", reviewer.Hand())
    assert (shown.count("made from this</figcaption>"), shown.count("the person</figcaption>")) == (1, 2)
    assert "this is done: <b>expression: smiling</b>" in shown
    desk.store.decide(edit.id, Verdict.GOOD)
    add(Kind.SYNTHETIC)
    drawn = reviewer.page(desk, "guest:reviewer", reviewer.Hand())
    assert (drawn.count("made from this"), drawn.count("the person</figcaption>")) == (0, 3)
    assert "this is done" not in drawn
