"""The server: what it answers, whom it lets in, what it lets nobody do."""

import json
import os
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steadytrain import control
from steadytrain import events as ev
from steadytrain.board.door import kept_token
from steadytrain.errors import SettingError
from steadytrain.metrics import CONTENT_TYPE
from tests.board.rig import TOKEN, Served, step, unpack, until, write_incident, write_run

PAGES = (
    "run",
    "series",
    "heat",
    "shares",
    "incident",
    "looks",
    "machines",
    "data",
    "texts",
    "fate",
)
HOSTILE = (
    "<script>document.title='owned'</script>\u202e\x1b[31m' \" </pre><img src=x onerror=alert(1)>"
)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    root = tmp_path_factory.mktemp("outer") / "runs"
    write_run(root / "demo" / "r1", 200)
    write_incident(root / "asks", mode="ask", text=HOSTILE)
    (root.parent / "secret.txt").write_text("not for you")
    (root.parent / "token").write_text("x")
    with Served(root) as one:
        one.root = root
        one.has_read("demo/r1", "asks")
        yield one


class TestWhatItAnswers:
    def test_runs_and_their_pages(self, served):
        runs = {run["id"]: run for run in served.json("/api/runs")["runs"]}
        assert runs["demo/r1"]["step"] == 200
        run = quote("demo/r1", safe="")
        assert served.json(f"/api/run?run={run}")["glance"]["tokens"] == 80_000
        for page in ("looks", "machines", "data"):
            served.json(f"/api/{page}?run={run}&lang=zh")

    def test_metrics_of_every_run_for_prometheus(self, served):
        status, headers, body = served.ask("/metrics")
        assert (status, headers["content-type"]) == (200, CONTENT_TYPE)
        lines = body.decode().splitlines()
        (made,) = [one for one in lines if one.startswith('steadytrain_step{run="r1"')]
        assert made.split()[-1] == "200"
        assert served.ask("/metrics")[2].decode().count("\nsteadytrain_step{") == 2

    def test_arrays(self, served):
        names = quote("loss\x1floss:zh")
        status, _, body = served.ask(f"/api/series?run=demo%2Fr1&names={names}&columns=500&span=10")
        header, (x, raw, soft) = unpack(body)
        assert (status, header["series"], raw.shape, soft.shape) == (
            200,
            ["loss", "loss:zh"],
            (2, 200),
            (2, 200),
        )
        assert x[-1] == 200

    def test_the_text_of_an_examination_is_data_and_never_markup(self, served):
        told = served.json("/api/incident?run=asks&id=incident-1")
        (seen,) = told["examined"]
        (sequence,) = served.json(f"/api/texts?run=asks&n={seen['n']}")["sequences"]
        pieces = sequence["pieces"]
        assert ["mark", "U+202E"] in pieces
        assert any("<script>" in text for _, text in pieces)  # as data, for a text node

    def test_the_page_and_what_it_is_made_of(self, served):
        status, headers, body = served.ask("/", token=None)
        assert (status, b"importmap" in body) == (200, True)
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        for path in (
            "/static/app.js",
            "/vendor/preact.js",
            "/vendor/uplot.js",
            "/vendor/inter.woff2",
        ):
            assert served.ask(path, token=None)[0] == 200
        assert "javascript" in served.ask("/vendor/hooks.js", token=None)[1]["content-type"]

    def test_a_stream_begins_with_where_the_run_stands(self, served):
        line = b"".join(self.stream(served, "demo%2Fr1", ""))
        assert b"event: news" in line
        assert b'"step":200' in line

    def test_a_reader_that_comes_back_hears_what_it_missed(self, served):
        run = served.json("/api/run?run=asks")
        epoch, version = run["glance"]["version"]
        text = b"".join(self.stream(served, "asks", f"{epoch}.{version - 1}.3")).decode()
        told = json.loads(text.split("data: ")[1].split("\n")[0])
        assert [one["kind"] for one in told["lines"]] == ["Incident", "Diagnosis"]

    def stream(self, served, run, last):
        import http.client

        line = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
        line.request(
            "GET",
            f"/api/stream?run={run}",
            headers={"Authorization": f"Bearer {TOKEN}", "Last-Event-ID": last},
        )
        answer = line.getresponse()
        while True:
            text = answer.readline()
            yield text
            if text == b"\n":
                break
        line.close()


class TestWhomItLetsIn:
    @pytest.mark.parametrize("page", ["runs", "stream", *PAGES])
    def test_nobody_without_the_token(self, served, page):
        for token in (None, "wrong", TOKEN[:-1], TOKEN + "x"):
            assert served.ask(f"/api/{page}?run=demo%2Fr1", token=token)[0] == 401

    def test_a_browser_trades_the_token_for_a_cookie_that_is_not_the_token(self, served):
        status, headers, _ = served.ask(
            "/api/enter", method="POST", body={"token": TOKEN}, token=None
        )
        cookie = headers["set-cookie"]
        assert status == 200
        assert TOKEN not in cookie
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        told = {"Cookie": cookie.split(";")[0]}
        assert served.ask("/api/runs", token=None, headers=told)[0] == 200

    @pytest.mark.parametrize("token", ["", "nonsense", None, 7, ["x"], "\ud800"])
    def test_a_wrong_token_gives_no_cookie(self, served, token):
        status, headers, _ = served.ask(
            "/api/enter", method="POST", body={"token": token}, token=None
        )
        assert status == 401
        assert "set-cookie" not in headers

    @pytest.mark.parametrize(
        "host", ["evil.example", "127.0.0.1.evil.example", "evil.example:80", ""]
    )
    def test_another_name_for_this_address_is_not_answered(self, served, host):
        assert served.ask("/", headers={"Host": host})[0] == 421
        assert served.ask("/api/runs", headers={"Host": host})[0] == 421

    @pytest.mark.parametrize("host", ["localhost", "127.0.0.1:9", "[::1]:6460"])
    def test_a_tunnel_is_answered(self, served, host):
        assert served.ask("/api/runs", headers={"Host": host})[0] == 200

    def test_without_a_token_everybody_looks_and_nobody_acts(self, tmp_path):
        write_incident(tmp_path / "asks", mode="ask")
        with Served(tmp_path, token=None) as one:
            until(lambda: one.json("/api/runs", token=None)["runs"])
            assert one.json("/api/runs", token=None)["may_change"] is False
            status, _, _ = one.ask(
                "/api/word?run=asks", method="POST", body={"verb": "act"}, token=None
            )
            assert status == 403

    def test_a_token_file_is_made_kept_and_refused_when_others_can_read_it(self, tmp_path):
        path = tmp_path / "deep" / "token"
        token = kept_token(path)
        assert kept_token(path) == token
        assert os.stat(path).st_mode & 0o777 == 0o600
        path.chmod(0o640)
        with pytest.raises(SettingError, match="chmod 600"):
            kept_token(path)
        path.chmod(0o600)
        path.write_text("short")
        with pytest.raises(SettingError, match="16"):
            kept_token(path)


class TestAWordToTheRun:
    def test_reaches_the_control_folder_and_its_fate_is_told(self, served):
        said = {
            "verb": "order",
            "plan": "lr 0.5 hold 100 rewarm 400",
            "why": "too fast",
            "name": "Li",
        }
        told = served.json("/api/word?run=demo%2Fr1", method="POST", body=said)
        home = served.root / "demo" / "r1"
        assert control.fate(home, told["id"]).state == "waits"
        letter = control.Inbox(home).open(told["id"])
        assert (letter.word.plan, letter.word.words) == (said["plan"], "too fast")
        assert letter.who.endswith("as Li")
        assert served.json(f"/api/fate?run=demo%2Fr1&id={told['id']}")["state"] == "waits"

    def test_can_be_tried_without_being_said(self, served):
        before = control.Inbox(served.root / "demo" / "r1").waiting()
        said = {"verb": "order", "plan": "z-loss 1e-4", "try": True}
        assert served.json("/api/word?run=demo%2Fr1", method="POST", body=said) == {"id": None}
        assert control.Inbox(served.root / "demo" / "r1").waiting() == before

    @pytest.mark.parametrize(
        ("said", "why"),
        [
            ({"verb": "order", "plan": "make it better"}, "make it better"),
            ({"verb": "order", "plan": "roll back 100000"}, "has made 200 updates"),
            ({"verb": "accept", "remedy": "remedy-9"}, "remedy-9"),
            ({"verb": "accept"}, "nothing is proposed"),
            ({"verb": "order", "plan": "z-loss 1e-4", "incident": "incident-5"}, "no open incident"),
            ({"verb": "act", "why": "a\x1b[0m"}, "cannot be printed"),
        ],
    )  # fmt: skip
    def test_that_the_run_would_refuse_is_refused_in_its_words(self, served, said, why):
        status, _, body = served.ask("/api/word?run=demo%2Fr1", method="POST", body=said)
        assert status == 422
        assert why in json.loads(body)["why"]

    @pytest.mark.parametrize(
        "headers",
        [
            {"X-Steadytrain": None},
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Host": "evil.example"},
        ],
    )
    def test_from_another_site_is_not_heard(self, served, headers):
        status, _, _ = served.ask(
            "/api/word?run=demo%2Fr1", method="POST", body={"verb": "act"}, headers=headers
        )
        assert status in (403, 421)

    def test_by_a_method_that_changes_nothing_is_not_heard(self, served):
        assert served.ask("/api/word?run=demo%2Fr1&verb=act")[0] == 405
        for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
            assert served.ask("/api/word?run=demo%2Fr1", method=method)[0] in (403, 405)

    @pytest.mark.parametrize(
        "body", ["", "{", "[]", '"x"', "7", "[" * 9000, '{"verb": ["act"]}', "{}"]
    )
    def test_that_is_no_word_is_refused(self, served, body):
        import http.client

        line = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
        line.request(
            "POST",
            "/api/word?run=demo%2Fr1",
            body=body,
            headers={"Authorization": f"Bearer {TOKEN}", "X-Steadytrain": "1"},
        )
        assert line.getresponse().status == 400
        line.close()

    def test_that_is_huge_is_not_read(self, served):
        said = {"verb": "act", "why": "x" * 100_000}
        assert served.ask("/api/word?run=demo%2Fr1", method="POST", body=said)[0] == 413


class TestNothingOutsideTheRuns:
    @pytest.mark.parametrize(
        "path",
        [
            "/static/../app.py", "/static/%2e%2e/app.py", "/vendor/..%2f..%2fapp.py", "/vendor//etc/passwd",
            "/static/....//app.py", "/../secret.txt", "/api/../secret.txt", "/static/..%5capp.py",
        ],
    )  # fmt: skip
    def test_no_file_of_the_server_is_read(self, served, path):
        status, _, body = served.ask(path)
        assert status in (400, 404)
        assert b"steadytrain.board" not in body

    @pytest.mark.parametrize(
        "run", ["..", "../", "/etc", "demo", "demo/../asks", "demo/r1/", "", "r1", "a\x00b"]
    )
    def test_a_run_is_an_id_and_never_a_path(self, served, run):
        for page in PAGES:
            assert served.ask(f"/api/{page}?{urlencode({'run': run, 'id': 'x', 'n': 1})}")[0] in (
                400,
                404,
            )

    def test_a_journal_that_names_another_file_shows_nothing_of_it(self, tmp_path):
        writer = write_run(tmp_path / "runs" / "r1", 3)
        (tmp_path / "secret.json").write_text('[{"text": "not for you"}]')
        writer.add(ev.BatchExamined(incident="i", attempt=1, step=3, path="../../secret.json"))
        with Served(tmp_path / "runs") as one:
            one.has_read("r1")
            status, _, body = one.ask("/api/texts?run=r1&n=2")
            assert status == 404
            assert b"not for you" not in body


QUERY = st.dictionaries(
    st.sampled_from(["run", "names", "axis", "first", "last", "columns", "span", "id", "n", "lang", "last_event"]),
    st.one_of(
        st.text(max_size=30), st.integers().map(str), st.floats().map(str),
        st.sampled_from(["demo/r1", "asks", "step", "tokens", "loss", "loss\x1floss:zh", "incident-1", "1e308", "-0", "nan"]),
    ),
    max_size=7,
)  # fmt: skip


@settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(page=st.sampled_from(PAGES), query=QUERY)
def test_no_query_makes_the_server_fail(served, page, query):
    text = urlencode(query, errors="surrogatepass")
    assert served.ask(f"/api/{page}?{text}")[0] in (200, 400, 404, 422)


def test_a_live_journal_reaches_the_glance(tmp_path):
    writer = write_run(tmp_path / "r1", 3)
    with Served(tmp_path) as one:
        one.has_read("r1")
        writer.add(step(4))
        until(lambda: one.json("/api/runs")["runs"][0]["step"] == 4, seconds=20)
