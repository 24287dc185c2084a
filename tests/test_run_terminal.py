"""Job control under ``crashenv run``, with a real shell on a real terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import shlex
import signal
import struct
import subprocess
import termios
import time
import unittest
from pathlib import Path

from tests.driver import DEADLINE, MonitorTest, children, command, monitor, wait_until
from tests.test_run import state

# Prints the signals that it gets and the lines that it reads, with no echo in between.
LISTENING = """
    import os, signal, sys, termios
    for name in ("INT", "QUIT", "CONT", "WINCH", "HUP", "TERM"):
        number = getattr(signal, "SIG" + name)
        signal.signal(number, lambda number, frame, name=name: os.write(1, b"<%s>" % name.encode()))
    os.write(1, b"<ready>")
    for line in sys.stdin:
        os.write(1, b"<line %s>" % line.strip().encode())
        if line == "size\\n":
            os.write(1, b"<%d columns>" % os.get_terminal_size(2).columns)
        if line == "end\\n":
            break
"""


class Terminal:
    """A program with its own terminal, which it controls as the session leader."""

    def __init__(self, arguments: list[str], env: dict[str, str], folder: Path) -> None:
        self.master, slave = pty.openpty()
        attributes = termios.tcgetattr(slave)
        attributes[3] &= ~termios.ECHO
        termios.tcsetattr(slave, termios.TCSANOW, attributes)
        name = os.ttyname(slave)

        def control() -> None:
            os.close(os.open(name, os.O_RDWR))  # the first that a leader opens (tty_ioctl(4))

        self.process = subprocess.Popen(
            arguments,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=env,
            cwd=folder,
            start_new_session=True,
            preexec_fn=control,
        )
        os.close(slave)
        self.text = b""

    def send(self, text: str) -> None:
        os.write(self.master, text.encode())

    def expect(self, text: str) -> str:
        """Read until ``text`` comes; return what came before."""
        wanted = text.encode()
        deadline = time.monotonic() + DEADLINE
        while wanted not in self.text:
            ready, _, _ = select.select([self.master], [], [], deadline - time.monotonic())
            if not ready:
                raise AssertionError("no %r in %r" % (wanted, self.text))
            try:
                self.text += os.read(self.master, 4096)
            except OSError:  # EIO: nobody has the terminal open any more
                raise AssertionError("no %r in %r" % (wanted, self.text)) from None
        before, _, self.text = self.text.partition(wanted)
        return before.decode(errors="replace")

    def resize(self, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)


class JobControlTest(MonitorTest):
    def shell(self) -> Terminal:
        env = {**self.env, "PS1": "<prompt>", "ENV": "", "TERM": "dumb"}
        terminal = Terminal(["sh", "-i"], env, self.folder)
        self.addCleanup(terminal.close)
        terminal.expect("<prompt>")
        return terminal

    def listening(self, *options: str) -> Terminal:
        """Start a shell whose foreground job is the monitor with the listening program."""
        terminal = self.shell()
        terminal.send(shlex.join(monitor(*options) + command([self.script()])) + "\n")
        terminal.expect("<ready>")
        return terminal

    def script(self) -> str:
        return self.write("listening.py", LISTENING)

    def end(self, terminal: Terminal) -> None:
        terminal.send("end\n")
        self.assertEqual(terminal.expect("<line end>"), "")  # nothing arrived twice
        terminal.expect("<prompt>")
        terminal.send("echo status=$?\n")
        terminal.expect("status=0")

    def test_keys_signal_the_program_once(self) -> None:
        terminal = self.listening()
        for key, name in (("\x03", "INT"), ("\x1c", "QUIT")):
            terminal.send(key)
            self.assertNotIn("<", terminal.expect("<%s>" % name))
            terminal.send("line\n")
            self.assertEqual(terminal.expect("<line line>"), "")
        self.end(terminal)

    def test_window_size(self) -> None:
        for options in ((), ("--capture-stderr",)):
            with self.subTest(options):
                terminal = self.listening(*options)
                terminal.resize(123)
                terminal.expect("<WINCH>")

                def text(terminal: Terminal = terminal) -> bool:
                    terminal.send("size\n")
                    terminal.expect("<line size>")
                    return "123" in terminal.expect(" columns>")

                wait_until(text, "the size")
                self.end(terminal)

    def test_stop_and_go_on(self) -> None:
        terminal = self.listening()
        for _ in range(2):
            terminal.send("\x1a")
            terminal.expect("<prompt>")
            terminal.send("jobs\n")
            terminal.expect("Stopped")
            terminal.expect("<prompt>")
            terminal.send("fg\n")
            terminal.expect("<CONT>")
            terminal.send("line\n")
            self.assertEqual(terminal.expect("<line line>"), "")
        self.end(terminal)

    def test_background_program_that_reads_is_stopped(self) -> None:
        terminal = self.listening()
        terminal.send("\x1a")
        terminal.expect("<prompt>")
        terminal.send("bg\n")
        terminal.expect("<CONT>")
        monitor = children(terminal.process.pid)[0]
        wait_until(lambda: state(children(monitor)[0]) == "T", "SIGTTIN")
        wait_until(lambda: state(monitor) == "T", "the monitor's stop")
        terminal.send("fg\n")
        terminal.expect("<CONT>")
        self.end(terminal)

    def test_monitor_alone_stopped_and_continued(self) -> None:
        """As "kill -TSTP" and "kill -CONT" do with its process id."""
        terminal = self.listening()
        monitor = children(terminal.process.pid)[0]
        program = children(monitor)[0]
        os.kill(monitor, signal.SIGTSTP)
        wait_until(lambda: state(program) == state(monitor) == "T", "the stop")
        terminal.expect("<prompt>")  # the shell has seen it too
        os.kill(monitor, signal.SIGCONT)
        terminal.expect("<CONT>")
        terminal.send("fg\n")  # for the shell
        terminal.send("line\n")
        terminal.expect("<line line>")
        self.end(terminal)

    def test_ctrl_c_ends_both(self) -> None:
        terminal = self.shell()
        terminal.send(shlex.join([*monitor(), "sh", "-c", "echo ready; read x"]) + "\n")
        terminal.expect("ready")
        terminal.send("\x03")
        terminal.expect("<prompt>")
        terminal.send("echo status=$?\n")
        terminal.expect("status=130")

    def test_interactive_shell_keeps_job_control(self) -> None:
        terminal = self.shell()
        terminal.send(shlex.join([*monitor(), "env", "PS1=<inner>", "sh", "-i"]) + "\n")
        terminal.expect("<inner>")
        terminal.send("cat\n")
        terminal.send("x\n")
        terminal.expect("x")
        terminal.send("\x1a")
        terminal.expect("<inner>")
        terminal.send("jobs\n")
        terminal.expect("Stopped")
        terminal.send("fg\n")
        terminal.send("y\n")
        terminal.expect("y")
        terminal.send("\x04")
        terminal.expect("<inner>")
        terminal.send("exit\n")
        terminal.expect("<prompt>")

    def test_captured_stderr_is_still_a_terminal(self) -> None:
        terminal = self.shell()
        program = "import os; print('<%s>' % [os.isatty(n) for n in range(3)])"
        terminal.send(shlex.join(monitor("--capture-stderr") + command(program)) + "\n")
        terminal.expect("<[True, True, True]>")
        # no byte is changed on the way
        source = "import os; os.write(2, b'a\\tb\\nc\\r\\n')"
        terminal.expect("<prompt>")
        terminal.send(shlex.join(monitor("--capture-stderr") + command(source)) + "\n")
        self.assertEqual(terminal.expect("<prompt>"), "a\tb\r\nc\r\r\n")


class SessionLeaderTest(MonitorTest):
    """As the first process of a container with a terminal."""

    def test_hangup_reaches_the_program(self) -> None:
        path = self.folder / "got"
        program = """
            import os, signal, sys
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
            os.write(1, b"<ready>")
            number = signal.sigwait({signal.SIGHUP})
            with open(sys.argv[1], "w") as file:
                print(int(number), file=file)
        """
        script = self.write("program.py", program)
        terminal = Terminal([*monitor(), *command([script, str(path)])], self.env, self.folder)
        try:
            terminal.expect("<ready>")
        finally:
            os.close(terminal.master)
        terminal.process.wait(DEADLINE)
        self.assertEqual(path.read_text(), "%d\n" % signal.SIGHUP)


if __name__ == "__main__":
    unittest.main()
