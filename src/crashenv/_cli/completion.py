"""``crashenv completion``: completions for bash, zsh and fish, from the commands' tables."""

import sys

from crashenv._cli import COMMANDS
from crashenv._cli.options import Command, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from crashenv._cli.options import Values

_SHELLS = ("bash", "zsh", "fish")
_COMMAND = Command(
    "completion",
    "bash|zsh|fish",
    """\
Print a script with which the shell completes crashenv's commands and options.
""",
    (),
    """\
examples:
  eval "$(crashenv completion bash)"
  crashenv completion zsh > "${fpath[1]}/_crashenv"
  crashenv completion fish > ~/.config/fish/completions/crashenv.fish
""",
    most=1,
)


def main(arguments: "Sequence[str]") -> int:
    return _COMMAND.main(arguments, _print)


def _print(values: "Values") -> int:
    shell = values.operands[0] if values.operands else ""
    if shell not in _SHELLS:
        raise UsageError("needs the name of a shell: %s" % ", ".join(_SHELLS))
    sys.stdout.write({"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](commands()))
    return 0


def commands() -> "list[tuple[Command, str]]":
    """Return each command, with a short description."""
    found = []
    for module, about in COMMANDS.values():
        __import__(module)
        found.append((sys.modules[module]._COMMAND, about))
    return found


def _names(command: Command) -> "list[str]":
    return [name for option in command.options for name in option.names]


def _bash(all_commands: "Sequence[tuple[Command, str]]") -> str:
    cases = "".join(
        "    %s) words='%s' ;;\n" % (command.name, " ".join(_names(command)))
        for command, _ in all_commands
    )
    names = " ".join(command.name for command, _ in all_commands)
    return """\
_crashenv() {
  local word=${COMP_WORDS[COMP_CWORD]} words
  if [ "$COMP_CWORD" = 1 ]; then
    COMPREPLY=($(compgen -W '%s --help --version' -- "$word"))
    return
  fi
  case ${COMP_WORDS[1]} in
%s    *) words= ;;
  esac
  # Whatever is not completed here is the name of a file, or belongs to the COMMAND of "run".
  COMPREPLY=()
  [[ $word != -* || " ${COMP_WORDS[*]:0:COMP_CWORD} " == *" -- "* ]] ||
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}
complete -o default -F _crashenv crashenv
""" % (names, cases)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _first_line(text: str) -> str:
    return text.partition("\n")[0].rstrip(";").replace("[", "(").replace("]", ")")


def _zsh(all_commands: "Sequence[tuple[Command, str]]") -> str:
    text = " ".join(_quoted("%s:%s" % (command.name, about)) for command, about in all_commands)
    cases = []
    for command, _ in all_commands:
        rows = []
        for option in command.options:
            value = ":%s:_files" % option.metavar if option.metavar else ""
            for name in option.names:
                rows.append(_quoted("%s[%s]%s" % (name, _first_line(option.help), value)))
        cases.append("    %s) _arguments %s '*:file:_files' ;;\n" % (command.name, " ".join(rows)))
    return """\
#compdef crashenv
_crashenv() {
  local -a commands
  commands=(%s)
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  local command=$words[2]
  shift words
  (( CURRENT-- ))
  case $command in
%s  esac
}
if [[ $funcstack[1] == _crashenv ]]; then  # loaded from fpath for the first completion
  _crashenv "$@"
else
  compdef _crashenv crashenv
fi
""" % (text, "".join(cases))


def _fish(all_commands: "Sequence[tuple[Command, str]]") -> str:
    lines = []
    for command, about in all_commands:
        lines.append(
            "complete -c crashenv -n __fish_use_subcommand -f -a %s -d %s\n"
            % (command.name, _quoted(about))
        )
        for option in command.options:
            names = " ".join(
                ("-l " if name.startswith("--") else "-s ") + name.lstrip("-")
                for name in option.names
            )
            needs = " -r" if option.metavar else ""
            about_option = _quoted(_first_line(option.help))
            lines.append(
                "complete -c crashenv -n '__fish_seen_subcommand_from %s' %s%s -d %s\n"
                % (command.name, names, needs, about_option)
            )
    return "".join(lines)
