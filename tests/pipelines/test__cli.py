import subprocess
import sys
from pathlib import Path

import pytest

from pipelines import _cli

ROOT = Path(__file__).parents[2]

SCRIPT = '''"""Divides.

    python -m divide --by=2

Reads nothing, writes nothing.
"""
from absl import flags, logging

from pipelines import _cli
from scnn_tf.errors import InputError

_BY = flags.DEFINE_integer("by", None, "Divisor.", required=True)
_NAME = flags.DEFINE_string("name", None, "A path, say.")
_TITLE = flags.DEFINE_string("title", "", "Free text.")
_SHARE = flags.DEFINE_float("share", 0.5, "A number.")


def main(argv):
    if _BY.value == 0:
        raise InputError("8 cannot be divided by 0; give another --by")
    if _BY.value == 1:
        raise KeyboardInterrupt
    if _BY.value == 2:
        open("/no/such/folder", "w")
    if _BY.value == 3:
        raise RuntimeError("a bug")
    logging.info("from elsewhere")
    logging.warning("dividing" if _BY.value != 6 else "a\\x1b[2J\\nb")
    if _BY.value == 5:
        print("–" * 9_000, *argv[1:], "\\x1b[2J a\\rb \\x9b")
        open("done", "w").close()
    print(8 // _BY.value, *argv[1:])
    return 4 if _BY.value == 4 else None


if __name__ == "__main__":
    _cli.run(main, positional=True)
'''


@pytest.fixture
def divide(tmp_path):
    (tmp_path / "divide.py").write_text(SCRIPT)

    def run(*arguments):
        done = subprocess.run(
            [sys.executable, str(tmp_path / "divide.py"), *arguments],
            capture_output=True, text=True, check=False, env={"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    return run


def test_the_return_value_of_main_is_the_exit_code(divide):
    code, out, err = divide("--by=8", "x", "y")
    assert (code, out) == (0, "1 x y\n")
    # A warning is one line with level and time; messages of other libraries are left out.
    assert err.startswith("W ") and err.endswith(" dividing\n") and len(err.splitlines()) == 1
    assert divide("--by=4")[:2] == (4, "2 \n".replace(" ", ""))


def test_a_users_error_is_one_line(divide):
    assert divide("--by=0") == (1, "", "error: 8 cannot be divided by 0; give another --by\n")
    # Also an error of the operating system.
    assert divide("--by=2") == (1, "", "error: /no/such/folder: No such file or directory\n")
    assert divide("--by=1") == (130, "", "interrupted\n")


def test_an_unexpected_exception_has_a_traceback(divide):
    code, _, err = divide("--by=3")
    assert code != 0 and "Traceback" in err and "a bug" in err


def test_missing_unknown_and_unparsable_flags_exit_with_2(divide):
    for arguments in ((), ("--by=two",), ("--by=2", "--on=3"), ("--by",)):
        code, out, err = divide(*arguments)
        assert (code, out) == (2, "")
        assert err.startswith("error: ") and err.endswith("(see --help)\n")
    code, _, err = divide("--by=2", "--no_such_flag=1")
    assert "no_such_flag" in err and len(err.splitlines()) == 1


def test_empty_and_nan_values_are_refused(divide):
    for flag in ("--name=", "--share=nan"):
        name = flag.split("=")[0]
        assert divide("--by=8", flag)[::2] == (
            2, f"error: flag {name} has no value (see --help)\n"
        )  # fmt: skip
    assert divide("--by=8", "--title=")[0] == 0


def test_an_argument_that_is_no_flag_is_refused(run_binary, tmp_path):
    code, _, err = run_binary("export", "--model_dir=m", f"--output_dir={tmp_path}", "10")
    # TensorFlow 2.21, where it is loaded first here, says that there is no GPU.
    lines = [line for line in err.splitlines() if "failed call to cuInit" not in line]
    assert (code, lines) == (1, ["error: unexpected argument '10'; inputs are flags (see --help)"])
    assert not list(tmp_path.iterdir())


def shell(folder, command, **environment):
    """Runs a command line in bash; `DIVIDE` is the script. Returns exit code, stdout, stderr."""
    (folder / "divide.py").write_text(SCRIPT)
    done = subprocess.run(
        ["bash", "-c", command.replace("DIVIDE", f"'{sys.executable}' divide.py")],
        capture_output=True, check=False, cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"} | environment,
    )  # fmt: skip
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize("arguments", ["--help", "--by=5", "--by=5 2>&1"])
def test_a_pipe_that_nobody_reads_ends_the_output_and_not_the_work(tmp_path, arguments):
    code, out, err = shell(tmp_path, f"set -o pipefail; DIVIDE {arguments} | true")
    assert code == 0
    assert "Traceback" not in err and "Broken" not in err and "Exception" not in err
    assert (tmp_path / "done").exists() == ("--by=5" in arguments)


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "ascii:strict", "cp437"])
def test_a_narrow_encoding_loses_no_work(tmp_path, encoding):
    code, out, err = shell(tmp_path, "DIVIDE --by=5 → 2>&1", PYTHONIOENCODING=encoding)
    assert (code, err) == (0, "")
    assert out.count(r"\u2013") == 9_000 and r"\u2192" in out.splitlines()[-1]
    assert (tmp_path / "done").exists()


def test_the_c_locale_loses_no_work(tmp_path):
    assert shell(tmp_path, "DIVIDE --by=5 →", LC_ALL="C", PYTHONUTF8="0")[0] == 0
    assert (tmp_path / "done").exists()


@pytest.mark.parametrize("arguments", ["--help", "--by=5"])
def test_a_full_disk_under_the_output_is_one_sentence(tmp_path, arguments):
    code, _, err = shell(tmp_path, f"DIVIDE {arguments} > /dev/full")
    assert (code, err.splitlines()[-1]) == (1, "error: <stdout>: No space left on device")
    assert "Traceback" not in err


def test_closed_outputs_are_no_error(tmp_path):
    assert shell(tmp_path, "DIVIDE --by=5 >&- 2>&-") == (0, "", "")
    assert (tmp_path / "done").exists()


def test_no_control_character_reaches_the_terminal(tmp_path):
    code, out, err = shell(tmp_path, "DIVIDE --by=5 $'\\e[31mred\\rx\\ty'")
    first, second = out.splitlines()
    assert first.endswith("– \\x1b[31mred\\rx\ty \\x1b[2J a\\rb \\x9b")
    assert second == "1 \\x1b[31mred\\rx\ty"
    # Messages are on one line.
    code, _, err = shell(tmp_path, "DIVIDE --by=$'a\\e[2J\\nb'")
    assert code == 2 and r"a\x1b[2J" in err and len(err.splitlines()) == 1


def test_an_error_names_a_file_without_its_control_characters(run_binary, tmp_path):
    name = "a\x1b[2J\r\nb\udce9.json"
    code, _, err = run_binary("evaluate", f"--annotations={tmp_path}/{name}", "--detections=d.json")
    assert code == 1
    assert err == (
        f"error: {tmp_path}/a\\x1b[2J\\r\\nb\\udce9.json: no such file or folder of annotations\n"
    )


def test_a_warning_is_on_one_line(divide):
    code, _, err = divide("--by=6")
    assert err.endswith(r" a\x1b[2J\nb" + "\n") and len(err.splitlines()) == 1


def test_ctrl_c_while_a_binary_is_imported_is_one_word():
    code = "import pipelines, os, signal; os.kill(os.getpid(), signal.SIGINT); input()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)}
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def test_help_prints_the_docstring_and_the_flags(divide):
    for flag in ("--help", "-h"):
        code, out, err = divide(flag)
        assert (code, err) == (0, "")
        assert out.startswith("Divides.\n\n    python -m divide --by=2\n\nReads nothing")
        assert "--by: Divisor." in out


@pytest.mark.parametrize(
    ("name", "writes", "flag"),
    [
        ("prepare_dataset", "report.json", "--reference"),
        ("check_dataset", "manifest.json", "--data_dir"),
        ("train", "model.weights.h5", "--stage"),
        ("localize", "segments.csv", "--model_dir"),
        ("evaluate", "--output_json", "--window_prior"),
        ("experiment", "tables.md", "--datasets"),
        ("export", "models.config", "--precision"),
        ("visualize", "--output", "--figure"),
    ],
)
def test_help_of_a_binary_shows_a_command_and_its_output(run_binary, name, writes, flag):
    code, out, err = run_binary(name, "--help")
    assert (code, err) == (0, "")
    assert f"python -m pipelines.{name}" in out
    description, flags = out.split("flags:\n")
    assert writes in description + flags and f"{flag}:" in flags


def test_report_failures_prints_one_line_each(capsys):
    failures = [{"video": "a.mp4", "cause": "it is empty"}, {"video": "b", "cause": "gone"}]
    _cli.report_failures(failures)
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["not used: a.mp4: it is empty", "not used: b: gone"]
