"""What is asked of hosts: read, filled in from the environment, refused in words."""

import pytest

from steadytrain.errors import SettingError
from steadytrain.launch.command import arguments
from steadytrain.launch.hosts import Hosts, environment_defaults, expand_nodes, read_hosts
from steadytrain.launch.supervisor import Supervisor


def _read(**changes):
    given = {
        "nnodes": "2", "endpoints": "node0:29500", "run_id": "r1", "backend": "c10d", "conf": "",
        "address": None,
    }  # fmt: skip
    return read_hosts(**(given | changes))


def test_one_host_needs_no_meeting():
    assert _read(nnodes="1", endpoints="") is None


def test_a_range_several_endpoints_and_waits_are_read():
    hosts = _read(nnodes="2:3", endpoints="a, b:1, [::1]:2", conf="host_timeout=3,join_timeout=9.5")
    assert (hosts.least, hosts.most) == (2, 3)
    assert hosts.endpoints == (("a", 29400), ("b", 1), ("::1", 2))
    assert (hosts.silent_seconds, hosts.join_seconds, hosts.last_call_seconds) == (3.0, 9.5, 5.0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"nnodes": "two"}, "Write --nnodes 4"),
        ({"nnodes": "4:2"}, "MIN <= MAX"),
        ({"nnodes": "0:2"}, "MIN <= MAX"),
        ({"endpoints": ""}, "no place to meet"),
        ({"endpoints": "a b"}, "no endpoint"),
        ({"nnodes": "2:4", "endpoints": "a,b"}, "--nnodes 3:4, or a single endpoint"),
        ({"backend": "etcd"}, "--rdzv-backend c10d"),
        ({"conf": "patience=3"}, "host_timeout=SECONDS"),
        ({"conf": "host_timeout=long"}, "host_timeout=SECONDS"),
        ({"conf": "host_timeout=0"}, "host_timeout=10"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_write(changes, words):
    with pytest.raises(SettingError, match=words):
        _read(**changes)


def test_a_majority_of_several_endpoints_is_enough():
    assert _read(nnodes="2:3", endpoints="a,b").least == 2


def test_a_name_fits_into_a_file_name():
    hosts = Hosts(least=1, most=2, endpoints=(("a", 1),), address="fe80::1%eth0/64")
    assert hosts.name == "fe80-1-eth0-64"
    assert hosts.reach == "fe80::1%eth0/64"


def test_launchers_say_it_by_environment():
    kubeflow = environment_defaults(
        {"PET_NNODES": "1:4", "PET_RDZV_ENDPOINT": "master:29400", "PET_NPROC_PER_NODE": "8"}
    )
    assert (kubeflow["nnodes"], kubeflow["rdzv_endpoint"], kubeflow["nproc"]) == (
        "1:4", "master:29400", "8",
    )  # fmt: skip
    slurm = {"SLURM_JOB_NODELIST": "n[08-10]", "SLURM_JOB_ID": "77"}
    in_task = environment_defaults(slurm | {"SLURM_NODEID": "1"})
    assert (in_task["nnodes"], in_task["rdzv_endpoint"], in_task["rdzv_id"]) == ("3", "n08", "77")
    assert environment_defaults(slurm)["nnodes"] == "1"  # the batch script runs on one node
    assert environment_defaults({})["rdzv_endpoint"] == ""


def test_lists_of_nodes_are_written_out():
    assert expand_nodes("a[1-2]-ib,b") == ["a1-ib", "a2-ib", "b"]
    assert expand_nodes("") == []


def test_the_command_line_becomes_hosts():
    from steadytrain import cli

    parser = cli._parser()
    options = parser.parse_args(
        ["run", "--nnodes", "2:3", "--rdzv-endpoint", "a:1,b:2", "--local-addr", "b"]
    )
    options.command_line = ["train.py"]
    hosts = arguments(options)["hosts"]
    assert hosts == Hosts(
        least=2, most=3, endpoints=(("a", 1), ("b", 2)), run_id="steadytrain", address="b"
    )


def test_copies_without_a_neighbour_or_without_states_are_refused(tmp_path, monkeypatch):
    alone = {"command": ["true"], "home": tmp_path, "neighbour_copies": True}
    with pytest.raises(SettingError, match="--nnodes 2 --rdzv-endpoint HOST:PORT"):
        Supervisor(**alone)
    monkeypatch.setenv("STEADYTRAIN_SHM", "off")
    with pytest.raises(SettingError, match="unset STEADYTRAIN_SHM"):
        Supervisor(**alone, hosts=_read())
