"""Homes that older trees wrote open, list what they listed, undo, and resume; `homes/README.md` describes them."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.studio.old_homes import MIRA, OTHER, Opened, differences, tables

COMMITS = ("4627236", "a2f467e")

PICTURES = {  # of Mira, out of the trash
    "source pending": 7,
    "source good": 2,
    "source reject": 1,
    "enriched pending": 14,
    "enriched good": 12,
    "enriched needs_correction": 3,
    "enriched reject": 3,
    "correction good": 2,
    "synthetic pending": 8,
    "synthetic good": 3,
    "synthetic needs_correction": 1,
    "synthetic reject": 1,
    "card pending": 46,
}
PREVIEWS = {"4627236": 24, "a2f467e": 26}
THROWN = {"enriched pending": 2, "enriched good": 1, "correction good": 1}
CAPTIONS = {  # of the sources: file, caption, who wrote it, tags
    "00.png": ("ohwx person, front view, smiling, number 0", "sidecar", "front smiling"),
    "01.png": ("ohwx person, front view, smiling, number 1", "sidecar", "front smiling"),
    "02.png": ("ohwx person, front view, smiling, number 2", "sidecar", "front smiling"),
    "03.png": ("ohwx person, half-left view, angry, in the rain", "human", "half-left angry bust"),
    "04.png": ("ohwx person, profile-left, angry", "fake-edit", "profile-left angry"),
    "05.png": ("ohwx person, half-right, smiling", "fake-edit", "half-right smiling"),
    "06.png": ("ohwx person, front, smiling", "fake-edit", "front smiling"),
    "07.png": ("ohwx person, profile-left, sad", "fake-edit", "profile-left sad"),
    "08.png": ("ohwx person, profile-right, smiling", "fake-edit", "profile-right smiling"),
    "09.png": ("ohwx person, half-left, neutral", "fake-edit", "half-left neutral"),
}
DECISIONS = {  # reviewer, verdict, undone
    ("owner", "good", False): 14,
    ("owner", "needs_correction", False): 4,
    ("owner", "reject", False): 3,
    ("reviewer", "good", False): 4,
    ("reviewer", "reject", False): 3,
    ("owner", "needs_correction", True): 1,
    ("somebody else", "good", True): 1,
}
TRIPLETS = {"4627236": (2, 9, 3), "a2f467e": (2, 8, 4)}  # golden, positive, held out
DATASETS = {  # role, entries, hash
    "4627236": [
        ("character", 23, "ce0de75a254d71741c32198c377d04a8a1db87d0de3fa93daad97368d6148595"),
        ("character", 26, "52532b34bfe2b2dbde2b72aeb61ffee41b2c528416b6309d78713ce2b351b6c5"),
        ("editor", 11, "ba5bbec48bf2735427b0771d63a8ecbb50af5fd902ccabea41717b8c8d5ec36c"),
    ],
    "a2f467e": [
        ("character", 23, "0921ae220633aed8ec3326590278a340f525f2b4aca12b3474c6fd1d66ea70ad"),
        ("character", 26, "be29a95a0e726b2591eed3ddd3ed1e7ae2b7a46e091c1bba4a3d719f2c406025"),
        ("editor", 10, "e7947f620fd6b183af8561d8327665d662be3d91eee755c343952a7acf51cc86"),
    ],
}
VERSIONS = [  # role, name, state, steps of its checkpoints, name of its parent
    ("character", "v1", "retired", [4, 8, 12], ""),
    ("character", "v2", "candidate", [4, 8], "v1"),
    ("character", "v3", "adopted", [4, 8], "v1"),
    ("editor", "v1", "adopted", [4], ""),
]
CARDS = {  # of v1 and of the base: pass, fail, unknown by the machine; right and wrong by a human; first try of judged
    "4627236": [(0, 20, 3, 2, 1, "2 of 20"), (0, 23, 0, 0, 1, "0 of 23")],
    "a2f467e": [(1, 19, 3, 2, 1, "3 of 20"), (0, 23, 0, 0, 1, "0 of 23")],
}
MIRAS_JOBS = [  # in the order of the list: kind, state, step of total, events
    ("caption", "queued", "0/2", 0),
    ("train", "queued", "0/6", 0),
    ("enrich", "interrupted", "2/5", 3),
    ("generate", "interrupted", "2/4", 2),
    ("train", "cancelled", "6/10", 6),
    ("generate", "failed", "1/3", 1),
    ("enrich", "done", "2/2", 2),
    ("train", "done", "8/8", 16),
    ("card", "done", "23/23", 23),
    ("card", "done", "23/23", 23),
    ("generate", "done", "2/2", 2),
    ("generate", "done", "8/8", 8),
    ("train", "done", "12/12", 36),
    ("enrich", "done", "30/30", 30),
    ("caption", "done", "7/7", 0),
    ("import", "done", "11/11", 0),
]
REFINED = {"4627236": ("refine", "done", "3/3", 14), "a2f467e": ("refine", "done", "4/4", 16)}
OTHERS_JOBS = {  # the same, without events
    "4627236": ["generate queued", *["generate failed"] * 2, "caption failed", *["import done"] * 2],
    "a2f467e": ["generate queued", *["generate done"] * 2, "caption done", *["import done"] * 2],
}
UNFINISHED = ("interrupted", "cancelled", "failed")


@pytest.fixture(params=COMMITS)
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    """Each of the old homes, opened."""
    opened = Opened(tmp_path, request.param)
    yield opened
    opened.workplace.close()


def test_every_read_answers_what_the_old_tree_answered(home: Opened) -> None:
    """Every recorded answer comes again: characters, pictures, coverage, versions, cards, queues, jobs and events."""
    other = [
        f"{call['name']}{call['args']} {found}"
        for call in home.answers
        for found in differences(home.ask(call["name"], *call["args"], **call["kwargs"]), call["answer"])
    ]

    assert len(home.answers) > 60
    assert other == []


def test_a_home_opened_twice_answers_the_same(home: Opened) -> None:
    """What opening and recovery wrote is read back as it was."""
    before = [home.ask(call["name"], *call["args"], **call["kwargs"]) for call in home.answers]

    home.reopen()

    assert [home.ask(call["name"], *call["args"], **call["kwargs"]) for call in home.answers] == before


def test_records_written_again_keep_their_stored_form(home: Opened) -> None:
    """A record that is read and put again stores every field that the old tree stored, with the old value."""
    before = [tables(home.folder / "characters" / MIRA), tables(home.folder)]

    for name in ("images", "decisions", "triplets", "datasets", "versions", "cards"):
        records = getattr(home.store, name)
        records.put_many(records.all())
    rows = home.workplace.jobs.list()
    home.workplace.library.records(type(rows[0])).put_many(rows)
    home.workplace.library.update(MIRA, notes="drawn; likes Größe and 名前")

    after = [tables(home.folder / "characters" / MIRA), tables(home.folder)]
    assert [len(rows) for rows in after[0].values()] == [len(rows) for rows in before[0].values()]
    assert list(differences(after, before)) == []


def test_characters(home: Opened) -> None:
    """Both characters are there with their names, words and models."""
    mira, other = home("character_list")["characters"]

    assert [mira[name] for name in ("id", "name", "trigger")] == [MIRA, "Mira", "ohwx"]
    assert mira["notes"] == "drawn; likes Größe and 名前"
    assert [other[name] for name in ("id", "name", "trigger", "subject")] == [OTHER, "Zoë Two", "zoe", "cat"]
    assert {mira[role] for role in ("generator", "editor", "scorer")} == {"fake-flux", "fake-edit", "fake-identity"}


def test_settings_and_measured_peaks_stay(home: Opened) -> None:
    """What the user set and what the card was measured to need is still stored after the home was opened."""
    stored = tables(home.folder)
    eight = [job["job_id"] for job in home.jobs("generate", "done") if job["total"] == 8]

    assert {name: each["value"] for name, each in stored["settings"].items()} == {
        "character": MIRA,
        "threshold:mira": 0.25,
        "dismissed": eight,
    }
    assert {name: each["value"] for name, each in stored["peaks"].items()} == {"train|fake-flux|64": 123_456_789}


def test_pictures_by_kind_and_state(home: Opened) -> None:
    """Every picture is of its kind and in its state, in the trash or out of it, and its file is as it was kept."""
    images, thrown = home.images(), home.images(trashed=True)

    assert Counter(f"{image['kind']} {image['state']}" for image in images) == {
        **PICTURES,
        "preview pending": PREVIEWS[home.commit],
    }
    assert Counter(f"{image['kind']} {image['state']}" for image in thrown) == THROWN
    assert [image["id"] for image in [*images, *thrown] if home.store.trouble(image["id"])] == []
    assert sum(image["filtered"] for image in images) == 2
    assert home("image_list", OTHER)["total"] == {"4627236": 2, "a2f467e": 3}[home.commit]


def test_captions_tags_crops_and_masks(home: Opened) -> None:
    """The sources have their captions, authors, tags, star, mask and crops."""
    sources = home.images(kind="source")

    told = {each["name"]: (each["caption"], each["caption_by"], " ".join(each["tags"].values())) for each in sources}
    assert told == CAPTIONS
    assert [each["name"] for each in sources if each["star"]] == ["00.png"]
    assert [(each["name"], each["crop"]) for each in sources if each["crop"]] == [("04.png", [0.0, 0.0, 0.75, 1.0])]
    assert [each["name"] for each in sources if each["mask"]] == ["06.png"]
    mask = next(each["mask"] for each in sources if each["mask"])
    assert Image.open(home.store.file(mask)).getextrema() == (0, 255)
    assert [each["crop"] for each in home.images(kind="enriched") if each["crop"]] == [[0.125, 0.0, 1.0, 0.875]]


def test_changes_of_a_crop_are_undone_one_by_one(home: Opened) -> None:
    """A source that was cropped twice goes back to its first crop, then to none."""
    cropped = next(each["id"] for each in home.images(kind="source") if each["crop"])

    assert home("crop_undo", MIRA, cropped)["image"]["crop"] == [0.25, 0.0, 1.0, 1.0]
    assert home("crop_undo", MIRA, cropped)["image"]["crop"] == []
    assert home.ask("crop_undo", MIRA, cropped)["error"]["code"] == "not_found"


def test_the_last_decision_is_undone_exactly(home: Opened) -> None:
    """Undo gives the picture back what its decision had replaced, and nothing else changes."""
    before = {image["id"]: image for image in home.images()}
    decided = Counter((d.reviewer, d.verdict.value, d.undone) for d in home.store.decisions.all())

    undone = home("review_undo", MIRA)["decision"]

    after = {image["id"]: image for image in home.images()}
    picture = undone["image"]
    assert decided == DECISIONS
    assert (undone["verdict"], undone["undone"]) == ("needs_correction", True)
    assert before[picture]["state"] == "needs_correction" and before[picture]["decided"] == undone["created"]
    assert after == {**before, picture: {**before[picture], "state": "pending", "reviewer": "", "decided": ""}}


def test_every_decision_is_undone(home: Opened) -> None:
    """Undone to the first, no picture is decided, no triplet is left, and the corrections are in the trash."""
    undone = 0
    for reviewer in ("reviewer", "owner"):
        while home.ask("review_undo", MIRA, reviewer)["ok"]:
            undone += 1

    undecided = [image for image in [*home.images(), *home.images(trashed=True)] if image["kind"] != "correction"]
    assert undone == sum(count for (_, _, already), count in DECISIONS.items() if not already)
    assert {(image["state"], image["reviewer"], image["decided"]) for image in undecided} == {("pending", "", "")}
    assert len(home.store.triplets) == 0
    assert [image["kind"] for image in home.images(trashed=True)].count("correction") == 3


def test_triplets(home: Opened) -> None:
    """Lessons are golden, positive or held out as they were, each with its source, its words and its result."""
    triplets = home.store.triplets.all()

    counts = Counter("held out" if t.held_out else "golden" if t.golden else "positive" for t in triplets)
    assert (counts["golden"], counts["positive"], counts["held out"]) == TRIPLETS[home.commit]
    images = {image["id"]: image for image in home.images()}
    assert {images[t.result]["state"] for t in triplets} == {"good"}
    assert {images[t.source]["kind"] for t in triplets} == {"source"}
    assert {images[t.wrong]["state"] for t in triplets if t.golden} == {"needs_correction"}


def test_the_trash_gives_back_what_was_thrown(home: Opened) -> None:
    """The last throw comes back first, with the triplet that it took along; then the one before."""
    taught = len(home.store.triplets)

    assert [home("image_get", MIRA, image)["image"]["state"] for image in home.store.undo_trash()] == ["good"]
    assert len(home.store.triplets) == taught + 1
    assert len(home.store.undo_trash()) == 2
    assert home.store.undo_trash() == []
    left = [image["id"] for image in home.images(trashed=True)]
    assert [each["kind"] for each in home("image_restore", MIRA, left)["images"]] == ["correction"]
    assert home.images(trashed=True) == []


def test_datasets_keep_their_hashes(home: Opened) -> None:
    """Each dataset's hash is that of its stored entries, and its entries frozen again are the same dataset."""
    stored = tables(home.folder / "characters" / MIRA)["datasets"].values()

    assert [(each["role"], len(each["entries"]), each["hash"]) for each in stored] == DATASETS[home.commit]
    for each in stored:
        text = json.dumps([each["role"], each["entries"]], sort_keys=True, separators=(",", ":"))
        assert hashlib.sha256(text.encode()).hexdigest() == each["hash"]
    for record in home.store.datasets.all():
        assert home.store.freeze(record.role, record.entries) == record
    assert len(home.store.datasets) == 3


def test_the_same_pictures_make_the_same_dataset(home: Opened) -> None:
    """Trainings submitted today freeze what the old tree froze of the same pictures, masks and crops included."""
    home("train_submit", MIRA, {"steps": 3})
    home("refine_submit", MIRA, {"steps": 3})

    assert [record.hash for record in home.store.datasets.all()] == [each[2] for each in DATASETS[home.commit]]


def test_versions_are_adopted_and_rolled_back(home: Opened) -> None:
    """Versions keep state, parent, checkpoints and file; the one in use gives way to its parent and comes back."""
    versions = home("version_list", MIRA)["versions"]
    names = {each["id"]: each["name"] for each in versions}
    v3 = next(each["id"] for each in versions if each["name"] == "v3")

    assert [
        (v["role"], v["name"], v["state"], [c["step"] for c in v["checkpoints"]], names.get(v["parent"], ""))
        for v in versions
    ] == VERSIONS
    assert all((home.store.folder / c["adapter"]).is_file() for v in versions for c in v["checkpoints"])
    assert home("version_adopt", MIRA, v3, on=False)["version"]["state"] == "retired"
    assert home.states() == ["adopted", "candidate", "retired", "adopted"]
    home("version_adopt", MIRA, v3)
    assert home.states() == ["retired", "candidate", "adopted", "adopted"]


def test_cards(home: Opened) -> None:
    """Cards keep the machine's verdicts and the human's words, and their first-try rate is made of both."""
    found = []
    for run in home.store.cards.all():
        answer = home("card_get", MIRA, run.id)
        verdicts = Counter(cell["verdict"] for cell in answer["card"]["cells"])
        words = Counter(cell["human"] for cell in answer["card"]["cells"])
        first = answer["summary"]["first_try"]
        counts = (*(verdicts[each] for each in ("pass", "fail", "unknown")), words[True], words[False])
        found.append((*counts, f"{first['k']} of {first['judged']}"))

    assert found == CARDS[home.commit]


def test_jobs_and_their_events(home: Opened) -> None:
    """The list has every job in its order and state, a killed one as interrupted; each job's events are all there."""
    mine = home("job_list", MIRA)["jobs"]
    listed = [
        (job["kind"], job["state"], f"{job['step']}/{job['total']}", len(home("job_status", job["job_id"])["events"]))
        for job in mine
    ]

    assert listed == [*MIRAS_JOBS[:7], REFINED[home.commit], *MIRAS_JOBS[7:]]
    assert [f"{job['kind']} {job['state']}" for job in home("job_list", OTHER)["jobs"]] == OTHERS_JOBS[home.commit]
    long = next(job["job_id"] for job in mine if job["total"] == 12)
    status = home("job_status", long, 30)
    assert (len(status["events"]), status["next"]) == (6, 36)
    assert [job["key"] for job in mine if job["key"]] == ["queued training", "first edits"]


def test_unfinished_jobs_are_resumed_and_queued_ones_run(home: Opened) -> None:
    """Jobs that failed, were cancelled or interrupted end well and keep what they had made; the queue runs empty."""
    unfinished = [job for job in home.jobs() if job["state"] in UNFINISHED]
    queued = home.jobs(state="queued")

    for job in unfinished:
        assert home("job_resume", job["job_id"])["state"] == "queued"
    ended = [home.finish(job["job_id"]) for job in [*queued, *unfinished]]

    assert [job["step"] for job in ended] == [job["total"] for job in ended]
    for before, after in zip([*queued, *unfinished], ended, strict=True):
        made = before["artifacts"].get("images", [])
        assert after["artifacts"].get("images", [])[: len(made)] == made
    assert home.jobs(state="queued") == []
    assert [len(job["artifacts"]["images"]) for job in ended if job["total"] in (3, 4, 5)] == [5, 4, 3]
    drawn = [job for job in ended if job["kind"] == "generate" and job["character"] == MIRA]
    assert [job["artifacts"]["threshold"] for job in drawn] == [0.25, 0.25]  # what the user set
    trained = [job for job in ended if job["kind"] == "train"]
    assert [job["artifacts"]["checkpoints"][-1]["step"] for job in trained] == [6, 10]
    assert home.states() == ["retired", "candidate", "adopted", "adopted", "candidate", "candidate"]


def test_a_finished_training_is_extended(home: Opened) -> None:
    """A training of twelve steps goes on to twenty from its last checkpoint and makes a version of them."""
    job = next(job["job_id"] for job in home.jobs("train", "done") if job["total"] == 12)
    for waiting in home.jobs(state="queued"):
        home("job_cancel", waiting["job_id"])

    home("train_extend", job, 20)
    ended = home.finish(job)

    version = next(v for v in home("version_list", MIRA)["versions"] if v["id"] == ended["artifacts"]["version"])
    assert [each["step"] for each in home("checkpoint_list", job)["checkpoints"]] == [4, 8, 12, 16, 20]
    assert (version["name"], version["state"], version["metrics"]["steps"]) == ("v4", "candidate", 20)
    assert [event["step"] for event in ended["events"] if "loss" in event] == list(range(1, 21))


def test_every_name_that_reads_answers(home: Opened) -> None:
    """The scripted surface plans, checks, exports and shows an old home without an error."""
    who = {"character_id": MIRA}
    training = next(job["job_id"] for job in home.jobs("train", "done"))
    versions = [each["id"] for each in home("version_list", MIRA)["versions"]]
    calls: dict[str, dict[str, Any]] = {
        "api_version": {},
        "character_list": {},
        "image_list": who,
        "image_get": {**who, "image_id": home.images()[0]["id"]},
        "coverage": who,
        "enrich_plan": {**who, "limit": 4, "missed": True},
        "practice_plan": who,
        "review_next": {**who, "count": 5},
        "train_preflight": {**who, "start": versions[2]},
        "train_command": {"job_id": training},
        "card_get": who,
        "refine_preflight": who,
        "version_list": who,
        "checkpoint_list": {"job_id": training},
        "dataset_export": {**who, "layout": "onetrainer"},
        "job_list": {},
        "job_status": {"job_id": training},
        "gpu_status": {},
    }

    assert set(calls) <= set(home("api_version")["names"])
    assert [name for name, given in calls.items() if not home.ask(name, **given)["ok"]] == []
    exported = [Path(home("lora_export", MIRA, version)["file_path"]) for version in versions]
    assert [file.is_file() for file in exported] == [True] * 4
