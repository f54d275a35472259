"""A script that would start itself over and over is told so in one sentence."""

import subprocess
import sys

import pytest

from stemkin.schedulers.scripts import is_guarded

PLAIN = """
import stemkin as sk
with sk.connect(workers=1):
    print("connected")
"""
INSIDE_A_FUNCTION = """
import stemkin as sk

def main():
    with sk.connect(workers=1):
        print("connected")

main()
"""
GUARDED = """
import stemkin as sk

def main():
    with sk.connect({where}workers=1) as client:
        print("connected", client is None)

if __name__ == "__main__":
    main()
"""


def run(script, path):
    path.write_text(script)
    return subprocess.run([sys.executable, path], capture_output=True, text=True, check=False, timeout=120)  # fmt: skip


@pytest.mark.parametrize(("script", "line"), [(PLAIN, 3), (INSIDE_A_FUNCTION, 8)])
def test_a_script_without_a_guard_is_told_before_any_process_is_started(tmp_path, script, line):
    done = run(script, tmp_path / "script.py")
    assert done.returncode == 1
    said = done.stderr.splitlines()[-1]
    assert said.startswith(f"ValueError: line {line} of {tmp_path / 'script.py'} starts processes")
    assert "if __name__ == '__main__':" in said
    assert done.stderr.count("Traceback") == 1
    assert "connected" not in done.stdout


@pytest.mark.cluster
def test_a_script_with_a_guard_starts_processes(tmp_path):
    assert run(GUARDED.format(where=""), tmp_path / "script.py").stdout == "connected False\n"


def test_threads_need_no_guard(tmp_path):
    script = PLAIN.replace("connect(", 'connect("threads", ')
    assert run(script, tmp_path / "script.py").stdout == "connected\n"


@pytest.mark.parametrize(
    ("guard", "guarded"),
    [
        ("if __name__ == '__main__':", True),
        ("if '__main__' == __name__:", True),
        ("if True and __name__ == '__main__':", True),
        ("if __name__ != 'x':", False),
        ("if True:", False),
        ("for _ in [1]:", False),
    ],
)
def test_guards_of_all_kinds_are_known(guard, guarded):
    assert is_guarded(f"x = 1\n{guard}\n    go()\n".encode(), 3) is guarded


def test_what_stands_beside_a_guard_is_not_under_it():
    script = b"if __name__ == '__main__':\n    a()\nelse:\n    b()\nc()\n"
    assert [is_guarded(script, n) for n in (2, 4, 5)] == [True, False, False]
    assert is_guarded(b"def (", 1), "Python itself did run it"
