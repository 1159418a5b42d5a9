"""The commands and their options."""

import os
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from frontdoor import bootstrap
from frontdoor.cli import COMMANDS, main, parser
from frontdoor.studio import open_studio

ROOT = Path(__file__).resolve().parents[2]


def test_no_command_means_the_studio() -> None:
    """`python launch.py` alone opens the studio on a free port."""
    options = parser().parse_args([])

    assert (options.command, options.port, options.no_open) == (None, 0, False)


@pytest.mark.parametrize("command", ["studio", "doctor", "pull", "character", "pictures"])
def test_an_option_counts_in_front_of_the_command_too(command: str) -> None:
    """`--home X studio` is `studio --home X`; what follows the command wins."""
    further = {"character": ["list"], "pull": ["x"]}.get(command, [])
    assert parser().parse_args(["--home", "x", command, *further]).home == Path("x")
    assert parser().parse_args(["--home", "x", command, *further, "--home", "y"]).home == Path("y")
    asked = parser().parse_args(["--port", "99", "--fake", "studio"])
    assert (asked.port, asked.fake, asked.compile) == (99, True, False)


@pytest.mark.parametrize("command", [["studio"], ["doctor"], ["pull", "x"]])
def test_the_folder_of_the_models_is_chosen_wherever_it_is_used(command: list[str]) -> None:
    """By the same option, in front of the command or after it."""
    assert parser().parse_args(["--models", "m", *command]).models == Path("m")
    assert parser().parse_args([*command, "--models", "m"]).models == Path("m")
    assert parser().parse_args(command).models is None


@pytest.mark.parametrize("option", [["--home", "x"], ["--models", "x"], ["--port", "99"], ["--fake"], ["--no-open"]])
@pytest.mark.parametrize("command", [["demo"], ["test"], ["bench", "store"]])
def test_an_option_that_the_command_does_not_take_is_refused(
    option: list[str], command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is run as if the option in front of the command had been heard."""
    with pytest.raises(SystemExit, match="2"):
        main([*option, *command])
    assert f"{command[0]} takes no {option[0]}" in capsys.readouterr().err


def test_the_demo_opens_no_studio_by_itself() -> None:
    """The demo opens the studio only with `--open`."""
    assert parser().parse_args(["demo"]).open is False
    assert parser().parse_args(["demo", "--open"]).open is True


def test_compiling_is_the_users_choice(tmp_path: Path) -> None:
    """`studio --compile` sets torch's compiler for every generator; without it none is set."""
    plain, asked = (parser().parse_args(words).compile for words in (["studio"], ["studio", "--compile"]))
    assert (plain, asked) == (False, True)
    for compiled, backend in ((False, None), (True, "inductor")):
        with closing(open_studio(tmp_path / str(compiled), compiled=compiled)) as studio:
            assert {spec.options.get("compile") for spec in studio.registry.role("generator")} == {backend}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_file(command: str) -> None:
    """Each command of the help text is a module of `frontdoor`."""
    from importlib.util import find_spec

    assert find_spec(f"frontdoor.{command}") is not None


def test_an_expected_failure_is_two_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """A user's mistake prints cause and hint, and exits with 1."""
    code = main(["bench", "nonsense"])

    assert code == 1
    assert capsys.readouterr().err.strip().splitlines()[0] == "There is no bench named nonsense."


@pytest.mark.parametrize("command", [["demo", "--out"], ["pull", "FLUX.2-klein-base-4B", "--from"]])
def test_a_path_of_no_user_is_two_lines(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A `~` that leads nowhere is told, before anything is done."""
    assert main([*command, "~nobody-here/x"]) == 1
    assert capsys.readouterr().err.strip().startswith("~nobody-here/x cannot be found")


def test_a_changed_pyproject_means_installing_again(tmp_path: Path) -> None:
    """The environment's fingerprint changes with pyproject.toml."""
    pyproject = tmp_path / "pyproject.toml"
    pyproject.write_text("a")
    before = bootstrap._fingerprint(pyproject)
    pyproject.write_text("b")

    assert bootstrap._fingerprint(pyproject) != before


@pytest.mark.slow
def test_a_port_that_cannot_be_opened_is_two_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A taken port and one that does not exist are refused; afterwards the folder is free for the next start."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        for port in (other.getsockname()[1], 70_000):
            code = main(["studio", "--fake", "--no-open", "--home", str(tmp_path / "home"), "--port", str(port)])
            lines = capsys.readouterr().err.strip().splitlines()
            assert (code, len(lines)) == (1, 2)
            assert str(port) in lines[0]
            assert "--port" in lines[1]
    open_studio(tmp_path / "home", fake=True).close()


@pytest.mark.slow
def test_behind_any_proxy_the_studio_starts(tmp_path: Path) -> None:
    """It starts where Gradio's import would fail: SOCKS without its package, a misspelt address."""
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    for proxy in ("socks5://127.0.0.1:9", "http://:::"):
        environment |= {"ALL_PROXY": proxy, "http_proxy": proxy}
        command = [
            sys.executable,
            "-u",
            "-m",
            "frontdoor.cli",
            "studio",
            "--fake",
            "--no-open",
            "--home",
            str(tmp_path),
        ]
        with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as studio:
            assert studio.stdout
            assert any("http://127.0.0.1:" in line for line in studio.stdout)
            studio.terminate()
