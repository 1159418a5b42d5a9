"""Prompt and settings in ComfyUI's graphs."""

from __future__ import annotations

from typing import Any

import pytest

from engines.metadata.comfy_graph import told_by_graph


def graph(**nodes: Any) -> dict[str, Any]:
    """A graph of KSampler; `nodes` replace or add inputs by a node's name."""
    given: dict[str, Any] = {
        "positive": {"text": "a fox", "clip": ["model", 1]},
        "negative": {"text": "", "clip": ["model", 1]},
        "model": {"ckpt_name": "sd.safetensors"},
        "latents": {"width": 640, "height": 480, "batch_size": 1},
        "sampler": {
            "model": ["model", 0],
            "positive": ["positive", 0],
            "negative": ["negative", 0],
            "latent_image": ["latents", 0],
            "seed": 5,
            "steps": 9,
            "cfg": 4.0,
            "sampler_name": "euler",
        },
        "saved": {"images": ["sampler", 0]},
    } | nodes
    return {name: {"class_type": name, "inputs": inputs} for name, inputs in given.items()}


def test_an_empty_negative_prompt_stays_empty() -> None:
    """It is not replaced by other words that lead to the sampler."""
    told = told_by_graph(graph())
    assert told is not None
    assert (told.prompt, told.negative) == ("a fox", "")
    assert told.pairs == {
        "Steps": "9", "Seed": "5", "CFG scale": "4.0", "Sampler": "euler", "Model": "sd.safetensors", "Size": "640x480",
    }  # fmt: skip


def test_a_conditioning_without_meaning_has_no_words() -> None:
    """FLUX.1's negative is often the prompt itself with its meaning removed."""
    zeroed = {"ConditioningZeroOut": {"conditioning": ["positive", 0]}}
    sampler = {**graph()["sampler"]["inputs"], "negative": ["ConditioningZeroOut", 0]}
    told = told_by_graph(graph(**zeroed, sampler=sampler))
    assert told is not None
    assert (told.prompt, told.negative) == ("a fox", "")


def test_a_node_that_passes_on_both_is_read_on_either_side() -> None:
    """A ControlNet takes and gives positive and negative."""
    control = {"positive": ["positive", 0], "negative": ["negative", 0], "strength": 1.0}
    sampler = {**graph()["sampler"]["inputs"], "positive": ["control", 0], "negative": ["control", 1]}
    told = told_by_graph(graph(control=control, sampler=sampler, negative={"text": "blurry", "clip": ["model", 1]}))
    assert told is not None
    assert (told.prompt, told.negative) == ("a fox", "blurry")


def test_the_sampler_nearest_to_the_end_counts() -> None:
    """A second pass has the words of the picture that was saved."""
    second = {**graph()["sampler"]["inputs"], "positive": ["again", 0], "latent_image": ["sampler", 0], "steps": 3}
    told = told_by_graph(graph(second=second, again={"text": "a wolf"}, saved={"images": ["second", 0]}))
    assert told is not None
    assert (told.prompt, told.pairs["Steps"], told.pairs["Size"]) == ("a wolf", "3", "640x480")


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"1": "x", "2": {"inputs": 5}, "3": {}},
        graph(positive={"text": ["positive", 0]}),  # a circle
        graph(positive={"text": ["lost", 0]}),
        graph(sampler={"model": ["model", 0], "positive": "words without a link"}),
    ],
)
def test_a_graph_without_words_tells_nothing(broken: dict[str, Any]) -> None:
    """A circle, a link to nowhere and nodes of another form stop nothing."""
    assert told_by_graph(broken) is None
