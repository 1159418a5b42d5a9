"""A tournament on fakes: refused early, drawn, killed and resumed, judged blind, and decided."""

from __future__ import annotations

import pytest

from engines.api.errors import BadInput, NotFound, UserError
from engines.catalogue.lora_bases import LoraFacts
from studio.flywheel import review
from studio.flywheel.enrich import contest
from studio.flywheel.tournament import asking
from studio.records.image import Verdict
from studio.records.job import JobState
from studio.records.payload import TournamentPayload
from studio.records.plan import StackedLora
from studio.records.tournament import Contestant, Contested
from tests.studio.conftest import World, present
from tests.studio.flywheel.enrich.test_own_words import kept_lora
from tests.studio.flywheel.tournament.conftest import TASKS, glow, judged, of, stands, submitted


def test_the_same_asks_and_seeds_go_through_each_contestant(world: World) -> None:
    """The editor in use takes part unasked; every cell has a picture with its measures, and no seed repeats an edit."""
    job = world.finish(submitted(world))
    made = of(world, job)
    known = contest.cells(world.store, made)
    assert [(each.key, each.few_steps, len(each.loras)) for each in made.contestants] == [
        ("a", False, 0),
        ("b", False, 1),
        ("c", True, 0),
    ]
    assert made.defenders == {"expression": "a", "background": "a"}
    assert len(known) == 3 * 2 * 9 == len(present(job.artifacts.images)) == job.total
    for place, ask in enumerate(made.asks):
        images = [known[key, place] for key in "abc"]
        assert {(each.parent, each.seed, each.params["instruction"]) for each in images} == {
            (ask.source, ask.seed, ask.words)
        }
        assert all(each.trial and each.trial.read is not None and each.trial.seconds is not None for each in images)
    assert len({(ask.source, ask.words, ask.seed) for ask in made.asks}) == len(made.asks)
    assert {each.asked["expression"] for each in made.asks if each.task == "expression"} == {"smiling"}


def test_what_must_fail_is_refused_before_anything_is_stored(world: World) -> None:
    """Too few of anything, two alike, what is unknown, not here, or does not fit."""
    far = LoraFacts(naming="x", tensors=2, modules=1, ranks=(1, 1), base="FLUX.1")
    kept_lora(world, "own-far", facts=far)
    few, other = Contestant(few_steps=True), Contested(task="outfit", words="a hat")
    unfit = Contestant(loras=(StackedLora(lora="own-far"),))
    gone = Contestant(loras=(StackedLora(lora="fal-angles"),))
    wrong = {
        "with 2 originals": (TASKS, (few,), world.sources[:2], 3),
        "too few for anyone to win": (TASKS, (few,), world.sources[:3], 2),
        "no original": (TASKS, (few,), [*world.sources[:3], world.review(approved=1)[0]], 3),
        "no task": ((), (few,), None, 3),
        "same name": ((TASKS[0], TASKS[0]), (few,), None, 3),
        "no task flying": ((Contested(task="flying"),), (few,), None, 3),
        "expression to furious": ((Contested(task="expression", values=("furious",)),), (few,), None, 3),
        "a kind of edit with words": ((other,), (few,), None, 3),
        "Nothing fills": ((Contested(task="hat", words="{what}"),), (few,), None, 3),
        "with 1 contestants": (TASKS, (), None, 3),
        "are the same": (TASKS, (few, few), None, 3),
        "does not fit": (TASKS, (unfit,), None, 3),
        "not on this machine": (TASKS, (gone,), None, 3),
        "no version": (TASKS, (Contestant(version="nobody"),), None, 3),
        "seeds cannot be": (TASKS, (few,), None, 0),
        "is no editor": (TASKS, (Contestant(model="fake-flux"),), None, 3),
    }
    for words, given in wrong.items():
        with pytest.raises(UserError) as refused:
            asking.submit(world.desk, *given)
        assert words.lower() in str(refused.value).lower() or isinstance(refused.value, NotFound), words
    assert not world.store.tournaments.all() and not world.studio.jobs.list(world.id)


def test_it_says_before_how_many_looks_it_takes(world: World) -> None:
    """At most one for each edit; fewer on average."""
    planned = asking.plan(world.desk, TASKS, (glow(world), Contestant(few_steps=True)), world.sources[:3], 4)
    assert planned.looks_most == planned.edits == planned.cost.count == 3 * 2 * 12
    assert 0 < planned.looks_expected < planned.looks_most
    assert not world.store.tournaments.all()


def test_a_cancelled_tournament_goes_on_where_it_stopped(world: World) -> None:
    """Also in a studio that is opened anew; no edit is drawn twice, and the key gives the same job."""
    job = world.cancel_when(submitted(world), lambda job: job.step >= 20)
    before = {cell: image.id for cell, image in contest.cells(world.store, of(world, job)).items()}
    assert 20 <= len(before) < job.total
    world.reopen()
    ended = world.finish(world.studio.jobs.resume(job.id))
    after = {cell: image.id for cell, image in contest.cells(world.store, of(world, ended)).items()}
    assert after.items() >= before.items() and len(after) == job.total == len(set(after.values()))


def test_pictures_come_blind_ask_by_ask_and_in_no_order_of_contestants(world: World) -> None:
    """Review shows each ask's pictures before the next ask's; why, and by whom, it does not tell."""
    made = of(world, world.finish(submitted(world)))
    shown = review.next(world.desk, count=54)
    numbers = [made.places(made.asks[each.trial.ask].task).index(each.trial.ask) for each in shown if each.trial]
    assert numbers == sorted(numbers) and len(shown) == 54
    firsts = {tuple(each.trial.contestant for each in shown[at : at + 6] if each.trial) for at in range(0, 54, 6)}
    assert len(firsts) > 3
    reason = review.explain(world.desk, shown[0].id)
    assert (reason.words, reason.score, shown[0].is_blind) == (review.BLIND, None, True)
    review.decide(world.desk, shown[0].id, Verdict.GOOD)
    assert not world.store.images.get(shown[0].id).is_blind


def test_clear_losers_need_no_more_looks(world: World) -> None:
    """A decided task leaves review; an undone verdict brings its pictures back."""
    made = of(world, world.finish(submitted(world)))
    looks = judged(world, made, lambda task, key: key == "b" or (task == "background" and key == "a"))
    expression, background = (stands(world, made, task) for task in ("expression", "background"))
    assert (expression.winner, expression.done, expression.asked) == ("b", True, 7)
    assert (background.winner, background.best, background.done) == ("", "a", True)
    assert looks == expression.looks + background.looks < 54 * 0.8
    assert not world.store.pending()
    while not world.store.pending():
        review.undo(world.desk)
    assert not all(stands(world, made, task).done for task in ("expression", "background"))


def test_dropped_contestants_are_drawn_no_further(world: World) -> None:
    """Verdicts that come while the tournament is drawn save edits, too."""

    def judge(step: int) -> None:
        known = world.store.tournaments.all()
        if known:
            judged(world, known[0], lambda task, key: key == "b")

    world.watch(judge)
    made = of(world, world.finish(submitted(world)))
    world.watch(lambda step: None)
    known = contest.cells(world.store, made)
    assert len(known) < 54
    assert stands(world, made, "expression").winner == "b"
    assert max(place for key, place in known if key == "c") < max(place for key, place in known if key == "b")


def test_an_original_that_cannot_be_read_holds_nobody_up(world: World) -> None:
    """Its asks are left out, told of, and not waited for."""
    job = submitted(world)
    world.store.path(world.sources[0]).unlink()
    job = world.finish(job)
    made = of(world, job)
    assert [made.asks[at].source for at in made.gone] == [world.sources[0]] * 6
    assert present(job.artifacts.left_out)[0].items == 18
    judged(world, made, lambda task, key: True)
    found = stands(world, made, "expression")
    assert (found.done, found.asked, found.winner) == (True, 6, "")


def test_own_words_are_a_task(world: World) -> None:
    """With their placeholders filled; nothing is expected of their tags, and no route comes of them."""
    task = Contested(task="hat", words="give the {subject} a {colour} hat", fills={"colour": "red"})
    made = of(world, asking.submit(world.desk, (task,), (Contestant(few_steps=True),), world.sources[:3], 3))
    assert {(ask.words, *ask.asked) for ask in made.asks} == {("give the person a red hat",)}


def test_the_same_key_gives_the_same_job(world: World) -> None:
    """As with every job; and a failed job says why."""
    first, again = (
        asking.submit(world.desk, TASKS, (Contestant(few_steps=True),), world.sources[:3], 3, key="x") for _ in "ab"
    )
    assert first.id == again.id and len(world.store.tournaments.all()) == 1
    assert TournamentPayload.of(first).tournament == world.store.tournaments.all()[0].id
    with pytest.raises(BadInput):
        asking.submit(world.desk, TASKS, (), world.sources[:3], 3)
    assert world.finish(first).state is JobState.DONE
