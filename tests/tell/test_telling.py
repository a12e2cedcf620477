"""`steadytrain tell`: clear words for bad settings, secrets that stay secret, a test, a word."""

import os
import subprocess
import sys
import time

import pytest

from steadytrain import acknowledgements, cli
from steadytrain.errors import SettingError
from steadytrain.tell.channels.web import checked_url
from steadytrain.tell.ledger import held
from steadytrain.tell.secrets import Secrets, variable
from tests.tell import services as svc
from tests.tell.makers import Run, closed, diagnosed, opened


def command(capsys, *arguments):
    status = cli.main(["tell", *[str(one) for one in arguments]])
    shown = capsys.readouterr()
    return status, shown.out, shown.err


@pytest.fixture
def told(services, monkeypatch):
    monkeypatch.setenv("STEADYTRAIN_FEISHU_URL", f"{services.url}/feishu/hook-id-0123")
    monkeypatch.setenv("STEADYTRAIN_FEISHU_SECRET", svc.FEISHU_SECRET)
    monkeypatch.setenv("STEADYTRAIN_WEBHOOK_NIGHT_URL", f"{services.url}/webhook/hook-0123")
    monkeypatch.setenv("STEADYTRAIN_WEBHOOK_NIGHT_SECRET", svc.HOOK_SECRET)
    return services


class TestTheTest:
    def test_it_says_that_every_channel_took_it(self, capsys, told):
        status, out, _ = command(capsys, "--test", "--to", "feishu", "--to", "webhook:night")
        assert status == 0
        assert [line.split(" in ")[0] for line in out.splitlines()] == [
            "feishu: taken",
            "webhook:night: taken",
        ]
        assert [name for name, _ in told.received] == ["feishu", "webhook"]

    def test_it_says_what_to_change_and_shows_no_secret(self, capsys, told, monkeypatch):
        monkeypatch.setenv("STEADYTRAIN_FEISHU_SECRET", "another-secret-0123")
        told.faults = [None, 403]
        status, out, err = command(capsys, "--test", "--to", "feishu", "--to", "webhook:night")
        assert status == 1
        assert "is the secret right" in out
        assert (
            "webhook:night: NOT SENT, change something first: the service refuses it (403)" in out
        )
        assert "0123" not in out + err

    def test_a_service_that_repeats_the_secret_is_blotted(self, capsys, told):
        echo = svc.FEISHU_SECRET
        told._feishu = lambda *_: {"code": 1, "msg": f"your secret {echo} at /hook-id-0123"}
        _, out, _ = command(capsys, "--test", "--to", "feishu")
        assert "your secret *** at /***" in out


class TestBadSettings:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (("r",), "Write --to"),
            (("--to", "feishu"), "no run was named"),
            (("r", "--to", "pigeon"), "no channel 'pigeon'"),
            (("r", "--to", "https://open.feishu.cn/x"), "everybody on this machine"),
            (("r", "--to", "feishu", "--to", "feishu=critical"), "named twice"),
            (("r", "--to", "feishu=loud"), "no level 'loud'"),
            (("r", "--to", "slack"), "STEADYTRAIN_SLACK_URL"),
            (("r", "--to", "feishu", "--quiet", "night"), "no quiet hours"),
            (("r", "--to", "feishu", "--quiet", "22:00-08:00", "--zone", "Mars"), "no time zone"),
            (("r", "--to", "feishu", "--cooldown", "-1"), "no time"),
            (("r", "--to", "feishu", "--escalate-after", "nan"), "no time"),
            (("r", "--to", "feishu", "--link", "http://b/?token=x"), "holds a token"),
            (("r", "--to", "feishu", "--link", "board"), "no address"),
            (("/nowhere/r", "--to", "feishu"), "no folder"),
            (("/nowhere/r", "--dry-run"), "holds no journal"),
        ],
    )
    def test_is_said_in_words(self, capsys, told, arguments, words):
        status, _, err = command(capsys, *arguments)
        assert status == 2
        assert words in err

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"TLS": "ssl3"}, "mail knows"),
            ({"SERVER": "host:many"}, "no server of mail"),
            ({"TO": "ada"}, "no address of mail"),
            ({"TLS": "none", "USER": "ada", "PASSWORD": "secret-0123"}, "in the clear"),
        ],
    )
    def test_mail_too(self, capsys, monkeypatch, changes, words):
        plain = {"SERVER": "smtp.example.org", "TO": "ada@example.org"}
        for name, value in (plain | changes).items():
            monkeypatch.setenv(f"STEADYTRAIN_MAIL_{name}", value)
        status, _, err = command(capsys, "r", "--to", "mail")
        assert status == 2
        assert words in err
        assert "0123" not in err

    @pytest.mark.parametrize(
        "url",
        [
            "ftp://x/y",
            "https://",
            "https:///x",
            "x",
            "https://h:99999/x",
            "https://a b/",
            "https://a..b/",
            "",
        ],
    )
    def test_an_address_that_is_none_is_refused(self, url):
        with pytest.raises(SettingError, match="no address"):
            checked_url(url, "X")

    def test_plain_http_is_for_this_machine_or_by_name(self):
        with pytest.raises(SettingError, match="--plain-http"):
            checked_url("http://10.0.0.7/robot", "X")
        assert checked_url("http://10.0.0.7/robot", "X", may_be_plain=True)
        assert checked_url("http://127.0.0.1:8/robot", "X")
        assert checked_url("http://[::1]:8/robot", "X")


class TestSecrets:
    def test_names_of_the_environment(self):
        assert variable("feishu:night-shift", "URL") == "STEADYTRAIN_FEISHU_NIGHT_SHIFT_URL"

    def test_a_file_of_secrets_is_read_and_the_environment_comes_first(self, tmp_path):
        path = tmp_path / "tell.env"
        path.write_text("# ours\nexport STEADYTRAIN_A_URL='one'\nSTEADYTRAIN_B_URL=two\n\n")
        path.chmod(0o600)
        secrets = Secrets({"STEADYTRAIN_B_URL": "three"}, path)
        assert (secrets.take("a", "URL"), secrets.take("b", "URL")) == ("one", "three")

    def test_a_value_may_lie_in_a_file_of_its_own(self, tmp_path):
        path = tmp_path / "url"
        path.write_text("https://h/secret-0123\n")
        path.chmod(0o400)
        secrets = Secrets({"STEADYTRAIN_A_URL_FILE": str(path)})
        assert secrets.take_secret("a", "URL") == "https://h/secret-0123"
        assert secrets.blot("see https://h/secret-0123, secret-0123") == "see ***, ***"

    @pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
    def test_a_file_that_others_can_read_is_refused(self, tmp_path, mode):
        path = tmp_path / "tell.env"
        path.write_text("STEADYTRAIN_A_URL=x\n")
        path.chmod(mode)
        with pytest.raises(SettingError, match="chmod 600"):
            Secrets({}, path)

    def test_a_line_that_is_no_setting_is_named_by_its_number_and_not_shown(self, tmp_path):
        path = tmp_path / "tell.env"
        path.write_text("STEADYTRAIN_A_URL=x\nhttps://h/secret-0123\n")
        path.chmod(0o600)
        with pytest.raises(SettingError, match="line 2") as caught:
            Secrets({}, path)
        assert "0123" not in str(caught.value)

    @pytest.mark.parametrize("value", ["a\nb", "a\x00b", "https://h/\u4e2d"])
    def test_values_that_no_address_has_are_refused(self, value):
        with pytest.raises(SettingError, match="more than one line"):
            Secrets({"STEADYTRAIN_A_URL": value}).take("a", "URL")


class TestAcknowledging:
    @pytest.fixture
    def home(self, tmp_path):
        Run(tmp_path).begin().train(1, 12).write(
            opened("incident-1"),
            closed("incident-1"),
            opened("incident-2"),
            diagnosed("incident-2"),
        )
        return tmp_path

    def test_a_word_lies_where_the_teller_reads_it(self, capsys, home):
        status, out, _ = command(
            capsys, home, "--acknowledge", "incident-2", "--as", "Ada", "--why", "I look"
        )
        assert (status, out) == (0, "acknowledged incident-2\n")
        (word,) = acknowledgements.waiting(home)
        assert (word.seen.thread, word.seen.words) == ("incident-2", "I look")
        assert word.who.endswith(" as Ada")

    def test_all_is_what_is_open(self, capsys, home):
        command(capsys, home, "--acknowledge", "all")
        assert [one.seen.thread for one in acknowledgements.waiting(home)] == ["incident-2"]

    def test_what_is_unknown_is_refused_with_what_is_open(self, capsys, home):
        status, _, err = command(capsys, home, "--acknowledge", "incident-7")
        assert status == 2
        assert "Write one of: incident-2" in err

    def test_words_that_cannot_be_printed_are_refused(self, capsys, home):
        status, _, err = command(capsys, home, "--acknowledge", "all", "--as", "\x1b[2J")
        assert status == 2
        assert "cannot be printed" in err

    def test_what_is_no_word_is_passed_over(self, home):
        folder = home / acknowledgements.FOLDER
        folder.mkdir(parents=True)
        (folder / "a.json").write_text("{}")
        (folder / "b.json").write_bytes(b"\xff")
        (folder / "c.json").symlink_to("/etc/passwd")
        (folder / "d.json").write_text('{"thread":"incident-2","name":"\\u001b"}')
        assert acknowledgements.waiting(home) == []


def test_a_dry_run_prints_the_news_and_sends_nothing(capsys, tmp_path):
    Run(tmp_path).begin().train(1, 12).write(opened(), diagnosed(), closed())
    status, out, _ = command(capsys, tmp_path, "--dry-run", "--lang", "zh")
    assert status == 0
    assert "[\u8b66\u544a] incident-1: " in out
    assert not (tmp_path / "tell").exists()


class TestBesideARun:
    """`steadytrain run --tell`."""

    def start(self, tmp_path, services, channel, script="import time\ntime.sleep(600)\n"):
        (tmp_path / "train.py").write_text(script)
        environment = os.environ | {
            "STEADYTRAIN_WEBHOOK_URL": f"{services.url}/webhook/hook-0123",
            "STEADYTRAIN_WEBHOOK_SECRET": svc.HOOK_SECRET,
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "steadytrain", "run", "--home", str(tmp_path / "r")),
                *("--tell", channel, "--", str(tmp_path / "train.py")),
            ],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def test_a_bad_channel_is_said_before_anything_starts(self, tmp_path, services):
        process = self.start(tmp_path, services, "pigeon")
        _, err = process.communicate(timeout=120)
        assert process.returncode == 2
        assert "no channel 'pigeon'" in err
        assert not (tmp_path / "r" / "journal").exists()

    @pytest.mark.slow
    def test_a_supervisor_that_is_killed_is_told_of_by_its_teller(self, tmp_path, services):
        process = self.start(tmp_path, services, "webhook")
        wait_for(lambda: (tmp_path / "r" / "journal" / "tell.0.jsonl").exists())
        wait_for(lambda: list((tmp_path / "r" / "journal").glob("supervisor.*")))
        process.kill()
        process.communicate()
        wait_for(lambda: services.received)
        ((_, said),) = services.received
        assert said["threads"] == [f"vanished-{process.pid}"]
        assert said["level"] == "critical"
        command_line = [sys.executable, "-m", "steadytrain", "tell", str(tmp_path / "r")]
        assert subprocess.run([*command_line, "--acknowledge", "all"], check=False).returncode == 0
        wait_for(lambda: len(services.received) == 2)
        wait_for(lambda: is_free(tmp_path / "r"))  # all is told, so it ends


def is_free(home):
    try:
        with held(home):
            return True
    except SettingError:
        return False


def wait_for(condition, seconds=90.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)
