"""What is asked of hosts: read, filled in from the environment, refused in words."""

import pytest

from steadytrain.errors import SettingError
from steadytrain.launch.command import arguments
from steadytrain.launch.etcd import Keys
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
        ({"backend": "etcd-v2"}, "third protocol.*--rdzv-backend c10d"),
        ({"backend": "zeus"}, "c10d, etcd, static"),
        ({"backend": "static"}, "--node-rank R with another R of 0 to 1"),
        ({"backend": "static", "place": "2"}, "has place 2 in it"),
        ({"backend": "static", "place": "first"}, "--node-rank 0 on the first"),
        (
            {"backend": "static", "place": "0", "nnodes": "1:2"},
            "--nnodes 2, or --rdzv-backend c10d",
        ),
        ({"backend": "static", "place": "0", "endpoints": "a,b"}, "has one endpoint"),
        ({"backend": "static", "place": "0", "endpoints": ""}, "no place to meet"),
        ({"backend": "etcd", "conf": "cacert=a,host_time=3"}, "cacert=FILE"),
        ({"conf": "protocol=https"}, "host_timeout=SECONDS"),
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


def test_a_fixed_order_is_known_by_the_place_of_each_host():
    hosts = _read(backend="static", place="1", endpoints="", master="node0:29511")
    assert (hosts.place, hosts.endpoints, hosts.can_split) == (1, (("node0", 29511),), False)
    first = _read(backend="", place="0", endpoints="node0")  # as torchrun: static is meant
    assert (first.backend, first.endpoints) == ("static", (("node0", 29500),))
    assert first.reach == "node0"  # where the others look for it anyway
    assert _read(backend="static", nnodes="1") is None


@pytest.mark.parametrize(
    "variable", ["NODE_RANK", "GROUP_RANK", "SLURM_NODEID", "JOB_COMPLETION_INDEX"]
)
def test_a_place_may_come_from_who_starts_the_hosts(variable):
    assert _read(backend="static", environ={variable: "1"}).place == 1
    assert _read(environ={variable: "1"}).place is None  # c10d knows no order
    assert _read(backend="static", place="0", environ={variable: "1"}).place == 0


def test_etcd_is_one_store_however_many_members_it_has():
    conf = "protocol=https,cacert=ca.pem,cert=me.pem,key=me.key,host_timeout=4"
    hosts = _read(backend="etcd", nnodes="1:4", endpoints="e1,e2:1", conf=conf)
    assert hosts.endpoints == (("e1", 2379), ("e2", 1))
    assert hosts.keys == Keys(cacert="ca.pem", cert="me.pem", key="me.key")
    assert (hosts.silent_seconds, hosts.can_split) == (4.0, False)
    assert _read(backend="etcd", conf="protocol=http").keys is None
    assert _read(backend="etcd", conf="protocol=https").keys == Keys()


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
    fixed = environment_defaults(
        {"PET_NNODES": "2", "PET_NODE_RANK": "1", "PET_MASTER_ADDR": "m", "PET_MASTER_PORT": "5"}
    )
    assert [fixed[name] for name in ("rdzv_endpoint", "rdzv_backend")] == ["", ""]
    assert [fixed[name] for name in ("node_rank", "master_addr", "master_port")] == ["1", "m", "5"]
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


def test_what_a_launcher_of_a_fixed_order_says_is_enough(monkeypatch):
    from steadytrain import cli

    for name, value in (
        ("PET_NNODES", "3"), ("PET_NODE_RANK", "2"), ("PET_MASTER_ADDR", "m"), ("PET_MASTER_PORT", "5")
    ):  # fmt: skip
        monkeypatch.setenv(name, value)
    options = cli._parser().parse_args(["run"])
    options.command_line = ["train.py"]
    hosts = arguments(options)["hosts"]
    assert (hosts.backend, hosts.place, hosts.least, hosts.endpoints) == (
        "static", 2, 3, (("m", 5),),
    )  # fmt: skip


def test_copies_without_a_neighbour_or_without_states_are_refused(tmp_path, monkeypatch):
    alone = {"command": ["true"], "home": tmp_path, "neighbour_copies": True}
    with pytest.raises(SettingError, match="--nnodes 2 --rdzv-endpoint HOST:PORT"):
        Supervisor(**alone)
    monkeypatch.setenv("STEADYTRAIN_SHM", "off")
    with pytest.raises(SettingError, match="unset STEADYTRAIN_SHM"):
        Supervisor(**alone, hosts=_read())
