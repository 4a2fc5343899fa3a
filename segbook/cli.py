"""The command line: the group and its exit codes. Each room has its commands in its command.py.

    segbook run notebooks/09_pp_liteseg.ipynb -p steps=200
    segbook train pp_liteseg_t_synthetic --set steps=200
    segbook list
    segbook resume 09_pp_liteseg-20261121-101500

Each command imports what it uses: ``list``, ``show`` and ``--help`` no torch. Errors that a user
can cause end in one line and an exit code, never in a traceback.
"""

from __future__ import annotations

from typing import Any

import click

from segbook import __version__, text
from segbook.bench.command import bench
from segbook.certificates.command import certify, import_weights
from segbook.course.command import course
from segbook.forecast.command import forecast
from segbook.notebooks.command import resume, run
from segbook.prediction.command import evaluate, export, predict
from segbook.preflight.command import doctor
from segbook.recipes.command import recipes
from segbook.reports.command import compare, report
from segbook.runs.command import (
    EPILOG,
    EXIT_BUSY,
    EXIT_FAILED,
    EXIT_STOPPED,
    EXIT_USAGE,
    list_runs,
    show,
)
from segbook.runs.lock import RunBusyError
from segbook.starter.command import new
from segbook.training.command import prove_resume, train


def refusal(message: str, exit_code: int) -> click.ClickException:
    """An error with its exit code; no name in it can begin a line that looks like ours."""
    error = click.ClickException(message.replace("\n", "\n  "))
    error.exit_code = exit_code  # pyright: ignore[reportAttributeAccessIssue]: click's own way
    return error


class Program(click.Group):
    """Turns the errors that a user can cause into one message and the right exit code.

    Whatever is printed, names from elsewhere do nothing to the terminal.
    """

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command line."""
        with text.on_terminal():
            return super().main(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Invoke a command."""
        try:
            return super().invoke(ctx)
        except RunBusyError as error:
            raise refusal(str(error), EXIT_BUSY) from None
        except ValueError as error:
            raise refusal(str(error), EXIT_USAGE) from None
        except ModuleNotFoundError as error:
            raise refusal(
                f"{error}. Notebooks and figures need more than training does: "
                "pip install 'segbook[notebooks]'",
                EXIT_USAGE,
            ) from None
        except ImportError as error:  # of another extra, which it names
            raise refusal(str(error), EXIT_USAGE) from None
        except KeyboardInterrupt:
            raise refusal("stopped by Ctrl-C", EXIT_STOPPED) from None
        except BrokenPipeError:
            raise  # click ends quietly
        except OSError as error:
            raise refusal(str(error), EXIT_FAILED) from None


@click.group(cls=Program, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="segbook")
def main() -> None:
    """Learn and research semantic segmentation: run notebooks, train recipes, look at runs.

    Run folders go to ./runs, or to $SEGBOOK_RUNS.
    """


for command in (
    bench, certify, compare, course, doctor, evaluate, export, forecast, import_weights, list_runs,
    new, predict, prove_resume, recipes, report, resume, run, show, train,
):  # fmt: skip
    main.add_command(command)
