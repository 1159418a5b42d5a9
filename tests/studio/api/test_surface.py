"""What is told of the scripted surface: nothing on it is without type and description, and its page is up to date."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from engines.wording.registry import VOCABULARIES
from studio.api.arguments import TASKS
from studio.api.reference import PAGE, page
from studio.api.surface import calls, definitions, records
from studio.flywheel.export.export import FORMS
from studio.records.job import JobState


def test_every_call_argument_and_answer_is_described() -> None:
    """Each has a plain sentence and a type; so has each field of each record, and each parameter in `params`."""
    for call in calls():
        assert call.description.endswith(".") and call.fields.keys() > {"ok"}, call.name
        for argument in call.arguments:
            assert argument.description.endswith(".") and "Any" not in argument.kind, (call.name, argument.name)
            demand_described(argument.schema, f"{call.name}.{argument.name}")
        demand_described(call.returns, call.name)
        assert "Any" not in call.answer, call.name
    assert all(schema["description"] for schema in records().values())
    Draft202012Validator.check_schema({"$defs": dict(definitions())})


def demand_described(schema: Any, where: str) -> None:
    """Fails where a named field in a schema has no description."""
    if isinstance(schema, dict):
        for name, inner in schema.get("properties", {}).items():
            assert inner.get("description", "").endswith("."), (where, name)
        for name, inner in schema.items():
            demand_described(inner, f"{where}.{name}")
    elif isinstance(schema, list):
        for inner in schema:
            demand_described(inner, where)


def test_records_of_one_name_are_one_record() -> None:
    """A name in an answer's type stands for the same fields in every call."""
    known: dict[str, Any] = {}
    for call in calls():
        for name, schema in call.records.items():
            assert known.setdefault(name, schema) == schema, (call.name, name)


def test_choices_are_listed_whole() -> None:
    """Forms of a LoRA, ends of a job and kinds of edits are told as they are, `hub` and all."""
    by_name = {call.name: call for call in calls()}
    (form,) = [each for each in by_name["lora_export"].arguments if each.name == "format"]
    state = by_name["job_status"].fields["state"]

    assert form.schema["enum"] == list(FORMS)
    assert all(end in state["description"] for end in JobState if end not in ("queued", "running"))
    for wording in VOCABULARIES.values():
        assert {edit.task for edit in wording.edit_tasks()} <= set(TASKS)


@pytest.mark.parametrize("name", ["enrich_plan", "generate_submit", "card_submit"])
def test_community_loras_are_told_of_where_they_are_taken(name: str) -> None:
    """`params.loras` has the schema of its entries, and the call says what they are."""
    (call,) = [each for each in calls() if each.name == name]
    (params,) = [each for each in call.arguments if each.name == "params"]
    inner = params.schema["anyOf"][0]["properties"]["loras"]["items"]

    assert inner["properties"].keys() == {"file", "weight"} and inner["required"] == ["file"]
    assert "LoRA files" in params.description


def test_an_upload_may_stand_for_a_path() -> None:
    """Each argument that is a file takes a path as text, or what `handle_file` of gradio_client makes."""
    uploaded = {"path": "/a.png", "meta": {"_type": "gradio.FileData"}, "orig_name": "a.png"}
    found = {(call.name, each.name): each for call in calls() for each in call.arguments if "filepath" in each.kind}

    assert {each for each, _ in found} == {"image_import", "correction_add", "mask_set", "character_import"}
    for argument in found.values():
        for given in ("/a.png", uploaded):
            Draft202012Validator(argument.schema).validate([given] if "list" in argument.kind else given)


def test_the_page_is_what_the_code_says() -> None:
    """docs/api.md is written anew by `python -m studio.api.reference` when the surface changes."""
    assert PAGE.read_text(encoding="utf-8") == page()
