"""`steadytrain tell`: its options, the test of the channels, the word that somebody has seen it."""

import argparse
import os
import signal
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from steadytrain import acknowledgements, journal
from steadytrain.acknowledgements import Seen
from steadytrain.errors import JournalError, SettingError
from steadytrain.options import CHANNELS
from steadytrain.tell.box import Manners
from steadytrain.tell.channels.web import Web
from steadytrain.tell.ledger import Ledger, held
from steadytrain.tell.message import Arrived, Message, Refused, TryAgain, clean
from steadytrain.tell.notes import Thread, Threads
from steadytrain.tell.quiet import QuietHours
from steadytrain.tell.rules import Rules
from steadytrain.tell.secrets import Secrets
from steadytrain.tell.teller import Patience, Teller
from steadytrain.tell.vigil import Vigil
from steadytrain.tell.ways import Makers, Way
from steadytrain.tell.words import words
from steadytrain.vitals import Vitals


def run(options: argparse.Namespace) -> int:
    """Tell, test, or acknowledge. 0: done; 1: a test did not arrive.

    Raises:
        SettingError, JournalError: the settings make no sense, or there is no run.
    """
    if options.acknowledge is not None:
        return _acknowledge(options)
    if options.dry_run:
        return _print_notes(_home(options), options)
    secrets = Secrets(os.environ, options.secrets)
    ways = make_ways(options, secrets)
    if options.test:
        return _test(ways, secrets, options)
    return _tell(_home(options), ways, secrets, options)


def make_ways(options: argparse.Namespace, secrets: Secrets) -> list[Way]:
    """The channels that the options name.

    Raises:
        SettingError: none, one that does not exist, or one that lacks something.
    """
    if not options.to:
        raise SettingError(f"nobody would be told. Write --to with one or more of: {CHANNELS}")
    if len(set(_names(options.to))) < len(options.to):
        raise SettingError("a channel is named twice, and would be told everything twice")
    _refuse_nonsense(options)
    quiet = QuietHours.parse(options.quiet, options.zone) if options.quiet else None
    manners = Manners(level=options.level, cooldown=options.cooldown * 60, quiet=quiet)
    makers = Makers(secrets=secrets, web=Web(), may_be_plain=options.plain_http)
    return [makers.way(given, manners) for given in options.to]


def _names(given: list[str]) -> list[str]:
    return [one.partition("=")[0] for one in given]


def _refuse_nonsense(options: argparse.Namespace) -> None:
    for name in ("cooldown", "escalate_after", "silent_after", "no_checkpoint_after"):
        value = getattr(options, name)
        if value is not None and not 0 <= value < 1e6:
            raise SettingError(
                f"--{name.replace('_', '-')} {value:g} is no time. Write a number of minutes"
            )
    if options.link:
        parts = urlsplit(options.link)
        if parts.scheme not in ("http", "https") or not parts.netloc or not options.link.isascii():
            raise SettingError("--link is no address of the web. Write http://host:port/")
        if "token" in options.link.lower() or parts.username or parts.password:
            raise SettingError(
                "--link holds a token or a password, and everybody in the group would have it. "
                "Write the address alone"
            )


def _home(options: argparse.Namespace) -> Path:
    if options.home is None:
        raise SettingError("no run was named. Write: steadytrain tell runs/r1 --to CHANNEL")
    home: Path = options.home
    return home


def _tell(home: Path, ways: list[Way], secrets: Secrets, options: argparse.Namespace) -> int:
    if not home.is_dir():
        raise JournalError(
            f"{home} is no folder, so there is no run to tell of. Give the folder that the run "
            "was started with, such as runs/r1; it may be empty still"
        )
    patience = Patience(
        escalate_after=options.escalate_after * 60,
        silent_after=_seconds(options.silent_after),
        no_checkpoint_after=_seconds(options.no_checkpoint_after),
    )
    with held(home):
        ledger = Ledger(home)
        teller = Teller(
            home=home,
            ways=ways,
            ledger=ledger,
            blot=secrets.blot,
            lang=options.lang,
            link=options.link,
            patience=patience,
            beside=options.beside,
            stays=options.stay,
        )

        def stop(*_: object) -> None:
            teller.is_stopped = True

        before = {one: signal.signal(one, stop) for one in (signal.SIGTERM, signal.SIGINT)}
        names = ", ".join(way.channel.name for way in ways)
        print(f"steadytrain tell: {home} to {names}", flush=True)
        try:
            went_well = teller.run()
        finally:
            ledger.close()
            for one, handler in before.items():
                signal.signal(one, handler)
    return 0 if went_well else 1


def _seconds(minutes: float | None) -> float | None:
    return None if minutes is None else minutes * 60


def _test(ways: list[Way], secrets: Secrets, options: argparse.Namespace) -> int:
    run_name = options.home.absolute().name if options.home else "steadytrain"
    failed = 0
    for way in ways:
        message = Message(
            id="0", run=run_name, threads=("test",), notes=("test",), level="info",
            key=f"test-{time.time_ns():x}", title=words("test title", options.lang),
            text=words("test", options.lang, run=run_name), link=options.link, lang=options.lang,
        )  # fmt: skip
        began = time.monotonic()
        match way.channel.send(message):
            case Arrived(remark=remark):
                note = f", but {secrets.blot(remark)}" if remark else ""
                print(f"{way.channel.name}: taken in {time.monotonic() - began:.1f} s{note}")
            case TryAgain(why=why):
                failed += 1
                print(f"{way.channel.name}: NOT SENT, worth trying again: {secrets.blot(why)}")
            case Refused(why=why):
                failed += 1
                print(f"{way.channel.name}: NOT SENT, change something first: {secrets.blot(why)}")
    return 1 if failed else 0


def _print_notes(home: Path, options: argparse.Namespace) -> int:
    for thread in _threads(home, options.lang).by_id.values():
        for note in thread.notes:
            clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(note.at))
            text = clean(note.text).replace("\n", "\n    ")
            level = words(note.level, options.lang)
            print(f"{clock} [{level}] {thread.id}: {text}")
    return 0


def _acknowledge(options: argparse.Namespace) -> int:
    home, wanted = _home(options), options.acknowledge
    threads = _threads(home, options.lang)
    unseen = [one.id for one in threads.by_id.values() if _waits_for_eyes(one)]
    if wanted != "all" and threads.get(wanted) is None:
        shown = ", ".join(unseen) or "none is open"
        raise SettingError(f"{wanted} is nothing that was told of this run. Write one of: {shown}")
    about = unseen if wanted == "all" else [wanted]
    try:
        for name in about:
            words_said = " ".join(options.why.split())
            acknowledgements.acknowledge(
                home, Seen(thread=name, name=" ".join(options.name.split()), words=words_said)
            )
            print(f"acknowledged {name}")
    except ValueError as error:
        if isinstance(error, SettingError):
            raise
        raise SettingError(f"this cannot be kept: {error}") from error
    if not about:
        print("nothing is open that nobody has seen")
    return 0


def _waits_for_eyes(thread: Thread) -> bool:
    return thread.may_escalate and not thread.is_over and not thread.seen_by


def _threads(home: Path, lang: str) -> Threads:
    """What the journal asks to be told, and what the clock has said."""
    if not journal.writers(home):
        raise JournalError(
            f"{home} holds no {journal.FOLDER} of a run. Give the folder that the run was started "
            "with, such as runs/r1"
        )
    threads = Threads(lang="zh" if lang == "zh" else "en")
    vitals = Vitals(home=home)
    rules, vigil = Rules(home=home, threads=threads), Vigil(home=home, threads=threads)
    for item in vitals.news.poll():
        vitals.note(item)
        vigil.note(item)
        rules.hear(item, vitals)
    if vitals.news.num_damaged:
        print(f"steadytrain: {vitals.news.num_damaged} damaged lines left out", file=sys.stderr)
    return threads
