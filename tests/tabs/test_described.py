"""What a running studio tells a script of itself, by each way that a script can ask."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest
from gradio_client import Client

from studio.api.surface import calls
from tests.tabs.conftest import House

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def client(house: House) -> Iterator[Client]:
    """A client of a studio that runs on fakes."""
    opened = Client(house.url, verbose=False)
    yield opened
    opened.close()


def test_what_view_api_prints_tells_everything(client: Client) -> None:
    """Each call, each argument and each answer with its type and its description; no `Any`."""
    told = str(client.view_api(print_info=False, return_format="str"))

    assert "Any" not in told
    for call in calls():
        assert f'api_name="/{call.name}") -> answer' in told and f"({call.told})" in told
        assert all(f" {each.name}: {each.kind}" in told and f"({each.description})" in told for each in call.arguments)


def test_the_dictionary_and_openapi_have_the_schemas(house: House, client: Client) -> None:
    """`view_api(return_format="dict")` has each argument's and each answer's JSON schema, OpenAPI the arguments'."""
    told = client.view_api(print_info=False, return_format="dict")
    paths = httpx.get(f"{house.url}/gradio_api/openapi.json", trust_env=False).json()["paths"]

    assert isinstance(told, dict)
    for call in calls():
        found = told["named_endpoints"][f"/{call.name}"]
        body = paths[f"/gradio_api/call/v2/{call.name}"]["post"]["requestBody"]["content"]["application/json"]
        assert found["description"] == call.description
        assert found["returns"][0]["type"] == json.loads(json.dumps(call.returns))
        for argument, given in zip(call.arguments, found["parameters"], strict=True):
            assert given["type"] == json.loads(json.dumps(argument.schema)), (call.name, argument.name)
            assert body["schema"]["properties"][argument.name]["description"] == argument.description


def test_the_page_stays_as_light_as_it_was(house: House) -> None:
    """The schemas are sent to those who ask for them; the page, which does not, gets none of them."""
    assert "QueuedImport" not in httpx.get(house.url, trust_env=False).text


def test_the_calls_that_take_named_arguments_over_http_take_them(house: House) -> None:
    """What OpenAPI describes can be called so: named arguments in, an event out, and by its id the answer."""
    where = f"{house.url}/gradio_api/call"
    event = httpx.post(f"{where}/v2/job_list", json={}, trust_env=False).json()["event_id"]

    answered = httpx.get(f"{where}/job_list/{event}", trust_env=False).text

    assert "event: complete" in answered and '"ok": true' in answered
