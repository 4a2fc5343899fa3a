"""Who started this process as one of several, by the variables that launchers set."""

import os

import pytest
from click.testing import CliRunner

from segbook import cli
from segbook.runs import launcher

# As Open MPI 4.1.4 sets them, and as slurm.schedmd.com and the manual of MPICH list them.
OPEN_MPI = {
    "OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "4", "PMIX_NAMESPACE": "429195265", "PMIX_RANK": "1",
}  # fmt: skip
MPICH = {"PMI_RANK": "3", "PMI_SIZE": "4", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "2"}
BATCH = {
    "SLURM_JOB_ID": "71", "SLURM_NTASKS": "8", "SLURM_PROCID": "0", "SLURM_LOCALID": "0",
    "SLURM_JOB_NODELIST": "gpu[03-04]", "SLURM_JOB_NAME": "train.sh",
}  # fmt: skip
"""A batch script, and a shell or a notebook in it."""
STEP = {
    **BATCH, "SLURM_STEP_ID": "2", "SLURM_STEP_NUM_TASKS": "8", "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1", "SLURM_STEP_NODELIST": "gpu[03-04]",
}  # fmt: skip
TORCHRUN = {
    "RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "GROUP_WORLD_SIZE": "2",
    "MASTER_ADDR": "gpu03", "MASTER_PORT": "29500", "TORCHELASTIC_RUN_ID": "none",
}  # fmt: skip
AGENT = {**STEP, "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1", "SLURM_LOCALID": "0"}


@pytest.fixture
def given(monkeypatch):
    """Nothing but these variables."""

    def give(variables):
        for name in list(os.environ):
            if name.startswith(("SLURM", "OMPI", "PMI", "MPI_", "MASTER", "RANK", "WORLD")):
                monkeypatch.delenv(name)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        for name in launcher.Launch._fields + ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
            if name not in variables:  # what `export` writes goes with the test
                monkeypatch.setenv(name, "")
                monkeypatch.delenv(name)
        for name in ("MASTER_ADDR", "MASTER_PORT"):
            if name not in variables:
                monkeypatch.setenv(name, "")

    return give


@pytest.mark.parametrize(
    ("variables", "found"),
    [({}, None),
     (BATCH, None),
     ({**STEP, "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, None),
     ({"WORLD_SIZE": "2"}, None),
     ({"PMIX_RANK": "0"}, None),
     ({"RANK": "0", "WORLD_SIZE": "1"}, None),
     ({"RANK": "0", "WORLD_SIZE": "1", **OPEN_MPI}, ("mpirun", 1, 4, 1)),  # left in a shell
     ({"RANK": "0", "WORLD_SIZE": "1", **STEP}, ("srun", 5, 8, 1)),
     (STEP, ("srun", 5, 8, 1)),
     ({**STEP, "PMI_RANK": "5", "PMI_SIZE": "8"}, ("srun", 5, 8, 1)),  # srun --mpi=pmi2
     (OPEN_MPI, ("mpirun", 1, 4, 1)),
     ({**AGENT, **OPEN_MPI}, ("mpirun", 1, 4, 1)),  # which started its helpers by srun
     (MPICH, ("mpiexec", 3, 4, 1)),
     ({**AGENT, **MPICH}, ("mpiexec", 3, 4, 1)),
     ({"PMI_RANK": "3", "PMI_SIZE": "4", "PMI_LOCAL_RANK": "1"}, ("mpiexec", 3, 4, 1)),
     (TORCHRUN, ("torchrun", 5, 8, 1)),
     ({**AGENT, **TORCHRUN}, ("torchrun", 5, 8, 1)),
     ({"RANK": "1", "WORLD_SIZE": "2"}, ("torchrun", 1, 2, 0))],
)  # fmt: skip
def test_a_process_knows_whether_it_is_one_of_several(given, variables, found):
    given(variables)
    assert launcher.launch() == found


@pytest.mark.parametrize(("terminal", "alone"), [(True, True), (False, False)])
def test_a_shell_of_srun_pty_is_alone_and_what_it_starts_by_srun_is_not(
    given, monkeypatch, terminal, alone
):
    given({**STEP, "SLURM_PTY_PORT": "43210"})
    monkeypatch.setattr(launcher, "_is_terminal", lambda: terminal)
    assert (launcher.launch() is None) == alone


@pytest.mark.parametrize(
    ("variables", "message"),
    [({**AGENT, **TORCHRUN, "GROUP_WORLD_SIZE": "1"}, r"srun started torchrun 2 times.*--nnodes=2"),
     ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK='2' and WORLD_SIZE='2' name no process"),
     ({"RANK": "first", "WORLD_SIZE": "2"}, "RANK='first'.*unset both")],
)  # fmt: skip
def test_variables_that_contradict_each_other_are_refused(given, variables, message):
    given(variables)
    with pytest.raises(ValueError, match=message):
        launcher.launch()


@pytest.mark.parametrize(
    ("variables", "address"),
    [(STEP, "gpu03"), (OPEN_MPI, "127.0.0.1"), (TORCHRUN, "gpu03"),
     ({**MPICH, "MASTER_ADDR": "node9", "MASTER_PORT": "1234"}, "node9"),
     ({**STEP, "MASTER_ADDR": "node9", "MASTER_PORT": "1234"}, "node9")],
)  # fmt: skip
def test_all_are_told_where_the_first_one_is(given, variables, address):
    given(variables)
    launch = launcher.launch()
    launcher.export(launch)
    assert os.environ["MASTER_ADDR"] == address
    assert os.environ["RANK"] == str(launch.rank)
    assert os.environ["WORLD_SIZE"] == str(launch.world_size)
    port = int(os.environ["MASTER_PORT"])
    assert port == int(variables.get("MASTER_PORT", port))
    assert 1024 < port < 32768  # where the system does not give ports away
    launcher.export(launch)  # a second time changes nothing
    assert int(os.environ["MASTER_PORT"]) == port


def test_each_step_of_each_job_has_a_port_of_its_own(given):
    ports = set()
    for job, step in (("71", "0"), ("71", "1"), ("72", "0")):
        given({**STEP, "SLURM_JOB_ID": job, "SLURM_STEP_ID": step})
        launcher.export(launcher.launch())
        ports.add(os.environ["MASTER_PORT"])
    assert len(ports) == 3


@pytest.mark.parametrize(
    ("variables", "cure"),
    [({**OPEN_MPI, "OMPI_COMM_WORLD_LOCAL_SIZE": "2"}, "mpirun -x MASTER_ADDR=HOST"),
     (MPICH, "mpiexec -genv MASTER_ADDR HOST"),
     ({"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "4"}, "export MASTER_ADDR=HOST"),
     ({"RANK": "1", "WORLD_SIZE": "4"}, "export MASTER_ADDR=HOST")],
)  # fmt: skip
def test_where_nothing_says_that_the_cure_is_said(given, variables, cure):
    given(variables)
    with pytest.raises(ValueError, match=f"{cure}.*segbook train --nproc 4"):
        launcher.export(launcher.launch())


@pytest.mark.parametrize("port", ["x", "0", "99999", "-1", "2e4"])
def test_a_port_that_is_none_is_refused(given, port):
    given({**TORCHRUN, "MASTER_PORT": port})
    with pytest.raises(ValueError, match=f"MASTER_PORT='{port}' is no port.*from 1 to 65535"):
        launcher.export(launcher.launch())


@pytest.mark.parametrize(
    "words", [("predict", "run", "a.png", "--out", "o"), ("evaluate", "run"),
              ("export", "run", "--to", "onnx")],
)  # fmt: skip
def test_what_one_process_does_is_not_done_several_times(given, words):
    given(MPICH)
    done = CliRunner().invoke(cli.main, words)
    assert done.exit_code == 2
    assert "mpiexec started this 4 times" in done.output


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("gpu[03-05,07],login1", "gpu03"), ("a1,a2", "a1"), ("node7", "node7"),
     ("r[1-2]n[08-16]", "r1n08"), ("n[1,5]-ib,x", "n1-ib"), ("", "")],
)  # fmt: skip
def test_the_first_machine_of_slurms_list(nodes, first):
    assert launcher.first_host(nodes) == first
