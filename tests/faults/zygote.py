"""Starts commands without waiting for their imports: imports them once, and forks a process for each command.

It reads one command a line as JSON, and says on stdout "pid N", "at" whenever the command has advanced, and "exit N".
"""

import json
import os
import random
import signal
import sys
import time

from runner.tiny_paper import LAPTOP, LAPTOP_SAMPLES

from dec_jax.runner import capacity, checkpoint, pretraining_phase, progress, report, run, sweep, sweep_pictures
from dec_jax.runner.progress import PhaseProgress
from experiments.paper import __main__ as paper
from experiments.paper import context

from .clocks import Clock

COMMANDS = {"run": run.main, "sweep": sweep.main, "paper": paper.main}


def patch(seconds_between_saves, clock):
    """Makes work small, its windows short, its saves as rare as is asked for, and lets its clock jump."""
    checkpoint.SECONDS_BETWEEN_SAVES = seconds_between_saves
    capacity.SLOTS_ON_CPU = 2
    pretraining_phase.STEPS_PER_WINDOW = 1
    report._draw = lambda *_: None
    sweep_pictures.draw = lambda *_: []
    sweep.SECONDS_BETWEEN_LOOKS = 0.1
    progress.SECONDS_BETWEEN_LINES = 0.0
    context.LAPTOP, context.LAPTOP_SAMPLES = LAPTOP, LAPTOP_SAMPLES
    advance, clock = PhaseProgress.advance, Clock(*clock) if clock else None
    if clock:
        clock.wear()

    def said(self, done, **figures):
        if clock:
            clock.tick()
        advance(self, done, **figures)
        os.write(1, b"at\n")
        time.sleep(0.01)

    PhaseProgress.advance = said


def child(command):
    os.setpgid(0, 0)
    log = os.open(command["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 2)
    random.seed()
    patch(command["seconds_between_saves"], command["clock"])
    sys.stdout = sys.stderr
    try:
        status = COMMANDS[command["command"]](command["words"])
    except BaseException:  # what Python would end with
        import traceback

        traceback.print_exc()
        status = 1
    sys.stderr.flush()
    os._exit(status)


def main():
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a process that nohup or & has started ignores it
    os.write(1, b"ready\n")
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            child(json.loads(line))
        os.write(1, b"pid %d\n" % pid)
        _, status = os.waitpid(pid, 0)
        os.write(1, b"exit %d\n" % os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
