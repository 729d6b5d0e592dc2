"""Run a Python program that ends when its parent does, even one that is killed.

`python -m billing_project.demo.leash FD PROGRAM ARGUMENT...`: FD reads from a pipe that only the parent can write to,
so its end says that the parent is gone. PROGRAM is a module or a file.
"""

import os
import runpy
import signal
import sys
import threading


def _watch(pipe: int) -> None:
    os.read(pipe, 1)
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    pipe, program = int(sys.argv[1]), sys.argv[2]
    threading.Thread(target=_watch, args=[pipe], daemon=True).start()
    sys.argv = sys.argv[2:]
    if program.endswith(".py"):
        runpy.run_path(program, run_name="__main__")
    else:
        runpy.run_module(program, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
