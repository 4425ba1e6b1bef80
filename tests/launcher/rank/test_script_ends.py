"""What a rank says of its own end gets through, whatever its script has done to itself; the right rank is named."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from dataclasses import dataclass

import pytest

from dtrain.control.messages import Summary
from dtrain.control.wire import encode
from dtrain.launcher.rank.reports import HEARING, ReportPipe, out_of_the_way
from dtrain.launcher.rank.script import Script

PRELUDE = """
import os, sys
files = []
def reuse_descriptors():
    files.extend(open(f"mine{number}", "w") for number in range(40))
"""


@dataclass
class Ended:
    code: int
    report: dict
    faults: str


@pytest.fixture
def run_script(tmp_path):
    """Run a text as the script of a rank, in a fork and without a job; how it ended and what it reported."""

    def run_script(text, *, as_module=False):
        path = tmp_path / "script.py"
        path.write_text(PRELUDE + text + "\n")
        reports = ReportPipe()
        faults = os.memfd_create("faults", 0)
        pid = os.fork()
        if pid == 0:
            reports.become_rank()
            os.chdir(tmp_path)
            for number, name in ((1, "out"), (2, "err")):
                os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT, 0o600), number)
            sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))  # noqa: SIM115
            os._exit(
                Script("script" if as_module else str(path), as_module=as_module).run(out_of_the_way(faults), reports)
            )
        # One write of at most a pipe's capacity or a reader: long reports need the latter.
        report = _read_report(reports, pid)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return Ended(code, report, os.pread(faults, 1 << 16, 0).decode())

    return run_script


def _read_report(reports, pid):
    os.set_blocking(reports.descriptor, False)
    data = b""
    has_ended = False
    while not has_ended:
        has_ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        with contextlib.suppress(BlockingIOError):
            while True:
                data += os.read(reports.descriptor, 1 << 20)
                if data.endswith(b"\n"):
                    reports.note_heard()
        time.sleep(0.001)
    return json.loads(data) if data else {}


ENDS = {
    "code_0": ("class C(Exception): exit_code = 0\nraise C('of a library')", 1, "C: of a library"),
    "code_text": ("class C(ValueError): exit_code = '7'\nraise C('http')", 1, "C: http"),
    "str_raises": (
        "class C(Exception):\n    def __str__(self): raise KeyError(1)\nraise C",
        1,
        "C: (its text cannot be shown: __str__ raised KeyError)",
    ),
    "streams_none": ("sys.stdout = sys.stderr = None\nraise ValueError('a')", 1, "ValueError: a"),
    "streams_closed": (
        "sys.stdout.close(); sys.stderr.close(); sys.stdin.close()\nraise ValueError('b')",
        1,
        "ValueError: b",
    ),
    "surrogate": ("open('caf\\udcff')", 1, "FileNotFoundError: [Errno 2] No such file or directory: 'caf\\udcff'"),
    "some_closed": (
        "os.closerange(3, 256); reuse_descriptors()\nraise ValueError('c')",
        1,
        "ValueError: c",
    ),
    "all_closed": (
        "os.closerange(3, 1 << 16); reuse_descriptors()\nraise ValueError('d')",
        1,
        "ValueError: d",
    ),
    "crash_after_closing": (
        "os.closerange(3, 1 << 16); reuse_descriptors()\nimport ctypes; ctypes.string_at(0)",
        -11,
        "",
    ),
    "exit_text": ("sys.exit('no data\\nin /data')", 1, ": no data\nin /data"),
    "long_text": ("raise ValueError('x' * 30_000_000)", 1, "ValueError: xxx"),
    "streams_that_raise": (
        "class S:\n    def write(self, text): raise OSError(28, 'full')\n    flush = write\n"
        "sys.stdout = sys.stderr = S()\nraise ValueError('e')",
        1,
        "ValueError: e",
    ),
}


@pytest.mark.parametrize("name", ENDS)
def test_code_and_words_get_through(run_script, tmp_path, name):
    action, code, text = ENDS[name]
    ended = run_script(action)
    assert ended.code == code
    if code > 0:
        told = f"{ended.report['kind']}: {ended.report['text']}"
        assert told.startswith(text)
        assert not ended.report["kind"] or "script.py" in ended.report["traceback"]
    else:
        assert text in ended.faults or "closing" in name
    assert "".join(path.read_text() for path in tmp_path.glob("mine*")) == ""


def test_a_process_that_the_script_forks_is_not_the_rank(run_script, tmp_path):
    ended = run_script("if os.fork() == 0:\n    raise ValueError('of the child')\nos.wait()\nos._exit(3)")
    assert (ended.code, ended.report) == (3, {})
    assert (tmp_path / "err").read_text().count("ValueError: of the child") == 1


@pytest.mark.parametrize("as_module", [False, True])
def test_frames_are_the_users_only(run_script, as_module):
    ended = run_script("x = 1\nif x\n    pass", as_module=as_module)
    assert ended.code == 1
    assert "script.py" in ended.report["traceback"]
    assert "SyntaxError: expected ':'" in ended.report["traceback"]
    assert "runpy" not in ended.report["traceback"]
    assert "/launcher/" not in ended.report["traceback"]


def test_the_job_says_it(run):
    """The same through a whole job, for the hardest of them."""
    who = "import os, time\nif os.environ['RANK'] != '1':\n    time.sleep(30)\n"
    action = "class C(Exception): exit_code = 0\nsys.stdout = sys.stderr = None\nraise C('caf\\udcff')\n"
    script = run.script(who + PRELUDE + "os.closerange(3, 1 << 16); reuse_descriptors()\n" + action)
    ended = run("--launcher", "local", "-np", "2", "--quiet", script)
    assert ended.code == 1
    assert "dtrain: rank 1 of 2 failed: C: caf\\udcff (exit code 1)" in ended.err
    assert 'script.py", line' in ended.err


def test_the_text_of_sys_exit_is_repeated(run):
    ended = run("--quiet", run.script("import sys\nsys.exit('no data\\nin /data')\n"))
    assert ended.code == 1
    assert "failed: exit code 1: no data\n" in ended.err
    assert "    in /data\n" in ended.err


def test_a_folder_is_no_script(run):
    ended = run("--quiet", ".")
    assert ended.code == 2
    assert "expected a script file, got the folder '.' without a __main__.py" in ended.err
    run.script("raise ValueError('here')\n", "__main__.py")
    ended = run("--quiet", ".")
    assert "failed: ValueError: here" in ended.err
    assert "/launcher/" not in ended.err


def test_a_rank_that_finalizes_is_not_killed_by_the_question_where_it_stands(run):
    script = run.script(
        "import time\n"
        "class Slow:\n"
        "    sleep = time.sleep\n"
        "    def __del__(self): self.sleep(30)\n"
        "import sys\nsys.modules['slow'] = Slow()\n"  # torn down after faulthandler has gone
    )
    ended = run("--quiet", "--timeout", "1", script)
    assert ended.code == 124, ended.err
    assert "signal 41" not in ended.err
    assert "rank 0 stands at" in ended.err


@pytest.mark.parametrize("closed", ["", "os.closerange(3, 4096)\n"])
def test_what_others_print_does_not_get_into_the_report(run, closed):
    """A thread that prints into standard streams that the script has closed, at the moment when something is opened."""
    script = run.script(
        "import os\n" + closed + "os.close(1)\nos.close(2)\nopen_before = os.open\n"
        "def open_and_print(*arguments, **options):\n"
        "    descriptor = open_before(*arguments, **options)\n"
        "    os.write(1, b'a line\\nand a half')\n"
        "    return descriptor\n"
        "os.open = open_and_print\nraise RuntimeError('planned failure')\n"
    )
    ended = run("--quiet", script)
    assert ended.code == 1, ended.err
    assert "RuntimeError: planned failure" in ended.err and "JSONDecodeError" not in ended.err


def test_what_is_no_report_is_passed_over(run):
    script = run.script(
        "import os, stat\nfor number in range(3, 600):\n"
        "    try:\n"
        "        if not stat.S_ISFIFO(os.fstat(number).st_mode): continue\n"
        "        os.write(number, b'text\\n[1]\\n{}\\n{\"type\": 1}\\n\\xff\\nhalf a line')\n"
        "    except OSError: pass  # nothing there, or the end that is read\n"
        "raise RuntimeError('planned failure')\n"
    )
    ended = run("--quiet", script)
    assert ended.code == 1, ended.err
    assert "RuntimeError: planned failure" in ended.err and "JSONDecodeError" not in ended.err


def test_a_stopped_rank_is_said_to_be_and_ends_without_waiting(run):
    """It hears no signal but SIGCONT, so neither its stacks nor its end are worth a wait."""
    script = run.script("import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)\n")
    begin = time.monotonic()
    ended = run("--quiet", "--timeout", "1", "--grace", "20", script)
    assert ended.code == 124, ended.err
    assert "a signal (SIGSTOP, Ctrl-Z) or a debugger holds the process" in ended.err
    assert time.monotonic() - begin < 11


def test_a_report_is_never_written_into_what_else_has_its_number(tmp_path):
    """The pipe's end is known by its path, which is no more here, or by its number if that is still the pipe."""
    with open(tmp_path / "precious", "w+") as file:
        reports = ReportPipe()
        reader = os.dup(reports.descriptor)
        reports.become_rank()
        reports._reports._path = str(tmp_path / "not here")
        try:
            assert reports.send(Summary(True))
            assert os.read(reader, 1 << 10) == b"\n" + encode(Summary(True))
            os.dup2(file.fileno(), reports._reports.descriptor)
            assert not reports.send(Summary(False))
            assert file.read() == ""
        finally:
            os.close(reports._reports.descriptor)
            os.close(reader)


@pytest.mark.parametrize("before", ["", "import os; os.closerange(3, 1 << 16); files = [open('/dev/null')] * 40\n"])
@pytest.mark.parametrize("end", ["raise ValueError('bad data')", "raise SystemExit(7)"])
def test_a_rank_stays_until_it_was_heard(tmp_path, before, end):
    """What started the ranks may kill all of them once one is gone, supervisors before they have passed a report on."""
    path = tmp_path / "script.py"
    path.write_text(before + end + "\n")
    reports = ReportPipe()
    pid = os.fork()
    if pid == 0:
        reports.become_rank()
        os.dup2(os.open(tmp_path / "err", os.O_WRONLY | os.O_CREAT, 0o600), 2)
        os._exit(Script(str(path)).run(os.memfd_create("faults"), reports))
    os.read(reports.descriptor, 1 << 16)
    time.sleep(0.2)
    assert os.waitpid(pid, os.WNOHANG) == (0, 0)
    reports.note_heard()
    begin = time.monotonic()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) in (1, 7)
    assert time.monotonic() - begin < HEARING
