"""The command line as a user meets it: exit codes, one line per refusal, help with examples."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from automq_broker import cli
from automq_broker.kernel.errors import Bug, Corrupt, Refused
from automq_operator.__main__ import main as operator


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    import os

    for variable in [name for name in os.environ if name.startswith("AUTOMQ_")]:
        monkeypatch.delenv(variable)


def test_config_prints_every_setting_with_its_origin(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["config", "--set", "num.partitions=4", "--port", "9192"]) == cli.OK
    printed = capsys.readouterr().out
    assert "num.partitions = 4   (--set num.partitions)" in printed
    assert "listeners = PLAINTEXT://127.0.0.1:9192   (--port)" in printed
    assert "s3.wal.upload.interval.ms = 60000 ms   (default)" in printed


def test_config_can_be_narrowed_and_read_by_machines(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["config", "s3.wal.*", "--json", "--wal", "/w"]) == cli.OK
    rows = json.loads(capsys.readouterr().out)
    assert {row["name"] for row in rows} > {"s3.wal.path", "s3.wal.capacity"}
    assert all(row["name"].startswith("s3.wal.") for row in rows)
    path = next(row for row in rows if row["name"] == "s3.wal.path")
    assert (path["value"], path["source"], path["origin"]) == ("/w", "STATIC_BROKER", "--wal")


def test_config_shows_only_changes_if_asked_and_hides_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    file = Path("server.properties")
    file.write_text("ssl.key.password=hunter2\nlog.dirs=/x\n")
    assert cli.run(["config", "--changed", "--config", str(file)]) == cli.OK
    printed = capsys.readouterr().out
    assert "ssl.key.password = <hidden>   (server.properties:1)" in printed
    assert "log.dirs has no effect" in printed
    assert "node.id" not in printed
    assert "hunter2" not in printed


def test_the_environment_may_name_the_file(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    Path("s.properties").write_text("node.id=12\n")
    monkeypatch.setenv("AUTOMQ_CONFIG", "s.properties")
    assert cli.run(["config", "node.id"]) == cli.OK
    assert "node.id = 12   (s.properties:1)" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["config", "--set", "nod.id=1"], ["config", "--config", "/not/there"]])
def test_a_refusal_is_one_line_and_exit_code_1(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(arguments) == cli.REFUSED
    captured = capsys.readouterr()
    assert captured.err.startswith("automq: ")
    assert captured.err.count("\n") == 1
    assert captured.out == ""


@pytest.mark.parametrize("arguments", [["nonsense"], ["config", "--nonsense"], ["serve", "--port", "x"]])
def test_wrong_usage_is_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(arguments) == cli.USAGE
    assert "Usage:" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["serve", "--help"], ["config", "--help"]])
def test_help_has_examples(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(arguments) == cli.OK
    assert "Examples:\n    automq " in capsys.readouterr().out


def every_command(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    """This one and all below it, with the words that call it."""
    yield name, command
    if isinstance(command, click.Group):
        for each in command.list_commands(click.Context(command)):
            below = command.get_command(click.Context(command), each)
            assert below is not None
            yield from every_command(f"{name} {each}", below)


COMMANDS = dict([*every_command("automq", cli.automq), *every_command("automq-operator", operator)])


def examples_of(command: click.Command) -> list[str]:
    """Whole command lines: continued ones joined, without what is piped into them or out of them."""
    lines = (command.epilog or "").replace("\\\n", " ").removeprefix("\b\nExamples:\n").splitlines()
    return [found[0] for line in lines if (found := re.search(r"automq(-operator)? [^|;]*", line))]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_examples_that_are_its_own_and_possible(name: str) -> None:
    assert (COMMANDS[name].epilog or "").startswith("\b\nExamples:\n")
    examples = examples_of(COMMANDS[name])
    assert examples
    for example in examples:
        assert example.startswith(f"{name} ") or example.strip() == name, example
        words = shlex.split(re.sub(r" {3,}\S.*", "", example))
        path = max((each for each in COMMANDS if words[: each.count(" ") + 1] == each.split()), key=len)
        known = {option for parameter in COMMANDS[path].params for option in parameter.opts} | {"--help"}
        assert {word.partition("=")[0] for word in words if word.startswith("-")} <= known, example


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--version"]) == cli.OK
    assert capsys.readouterr().out.startswith("automq, version ")


@pytest.mark.parametrize(
    ("end", "code", "words"),
    [
        (Refused("no\nway"), 1, "automq: no way\n"),
        (Corrupt("LSN 7"), 1, "automq: LSN 7\n"),
        (click.ClickException("bad"), 1, "automq: bad\n"),
        (SystemExit(3), 3, ""),
        (SystemExit(), 0, ""),
        (SystemExit("why"), 1, "automq: why\n"),
        (KeyboardInterrupt(), 130, ""),
        (click.Abort(), 130, ""),
        (Bug("broken"), 70, "Bug: broken"),
        (ZeroDivisionError(), 70, "ZeroDivisionError"),
    ],
    ids=repr,
)
def test_every_end_has_an_exit_code(
    end: BaseException, code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.exit_code(end) == code
    error = capsys.readouterr().err
    assert words in error if code == cli.BUG else error == words


def test_the_module_runs_and_a_closed_pipe_makes_no_noise() -> None:
    command = [sys.executable, "-m", "automq_broker", "config"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    error = process.stderr.read()
    process.stderr.close()
    assert process.wait(20) in (0, 1)
    assert error == b""


def test_showing_settings_loads_no_store_and_no_loop() -> None:
    code = (
        "import sys; from automq_broker import cli; cli.run(['config', 'node.id']); "
        "print([m for m in ('boto3', 'obstore', 'uvloop', 'prometheus_client') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_thread_that_never_ends_does_not_hold_up_the_exit() -> None:
    program = """if True:
        import threading
        from automq_broker.cli import leave
        threading.Thread(target=threading.Event().wait).start()
        print("said before", end="")
        leave(3)
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (3, "said before")
