"""Creating, changing and deleting sessions."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any

from django.db import IntegrityError, connection, transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.utils import timezone

from approvals.rules import forget_session
from common.db import seconds_ago, transact
from common.errors import Invalid, invalid
from common.ids import as_uuid
from common.usertext import check_user_text
from copilot.events import publish, schema
from copilot.events.log import EventBatch, from_outside
from copilot.files import removal_of
from copilot.models import Session, Turn, TurnEvent, User
from copilot.models.session import locked_session
from copilot.models.turn import LIVE
from copilot.presets import visible_preset
from copilot.providers import registry as models
from copilot.tools import registry as tools_registry
from copilot.turns.begin import announce
from copilot.turns.submit import do_lock_session
from copilot.usage.reservations import do_give_back
from copilot.workspaces import remove_workspace

TITLE_MAX = 200
INSTRUCTIONS_MAX = 64_000
#: What ``update_session`` can change.
CHANGEABLE = frozenset({"title", "model", "instructions", "preset", "tools", "approval_mode", "archived"})


@transact
def create_session(
    *,
    user: User,
    title: str = "",
    model: str = "",
    instructions: str = "",
    preset: str | None = None,
    tools: Sequence[str] | None = None,
    approval_mode: str = "default",
    temporary: bool = False,
    client_id: str | None = None,
) -> Session:
    """Create a session; the same ``client_id`` again returns the one it created.

    Args:
        title: of a person's own choosing; "" lets the first message name it.
        model: "" follows the operator's default.
        preset: the id of one that the person can use.
        tools: globs over tool names; None offers every tool.
        approval_mode: ``ask_all`` asks before every tool that neither the operator nor the person allows.
        temporary: not listed, never named by itself, and deleted some time after its last turn; for good.

    Raises:
        Invalid: an unknown model (``unknown_model``), a glob that matches no tool, an unknown approval mode or
            preset, a title that is too long, a text that is refused.
    """
    if client_id is not None and (earlier := _of_client(user, client_id)):
        return earlier
    wishes = {
        "title": title,
        "model": model,
        "instructions": instructions,
        "preset": preset,
        "tools": tools,
        "approval_mode": approval_mode,
    }
    checked = _checked(user, wishes)
    session = Session(
        user=user,
        temporary=temporary,
        client_id=client_id,
        updated_at=timezone.now(),
        **checked,
    )
    try:
        with transaction.atomic():
            session.save(force_insert=True)
    except IntegrityError:
        won = _of_client(user, client_id) if client_id is not None else None
        if won is None:
            raise
        return won
    announce(session.id, session.user_id)
    return session


@transact
def update_session(*, user: User, session_id: object, **changes: Any) -> Session:
    """Change some of ``CHANGEABLE``. The place in the list of recent sessions stays.

    Raises:
        NotFound: unknown, or not the user's.
        Invalid: as for ``create_session``.
    """
    unknown = changes.keys() - CHANGEABLE
    if unknown:
        raise TypeError(f"cannot change {sorted(unknown)}")
    session = do_lock_session(user, as_uuid(session_id))
    checked = _checked(user, changes)
    if not checked:
        return session
    Session.objects.filter(id=session.id).update(**checked, revision=F("revision") + 1)
    session.refresh_from_db()
    announce(session.id, session.user_id)
    return session


@from_outside
@transact
def delete_session(*, user: User, session_id: object) -> None:
    """Delete a session with everything in it. A turn that runs ends too.

    Raises:
        NotFound: unknown, or not the user's.
    """
    _do_delete_with_children(do_lock_session(user, as_uuid(session_id)))


def expired_sessions(seconds: float, most: int) -> list[uuid.UUID]:
    """Return temporary sessions whose last turn ended ``seconds`` ago or more; those without, unused as long."""
    return list(_expired(seconds).order_by("created_at").values_list("pk", flat=True)[:most])


def _expired(seconds: float) -> QuerySet[Session]:
    moment = seconds_ago(seconds)
    turns = Turn.objects.filter(session=OuterRef("pk"))
    recent = turns.filter(Q(status__in=LIVE) | Q(finished_at__gt=moment))
    return Session.objects.filter(
        ~Exists(recent),
        Exists(turns) | Q(updated_at__lte=moment),
        temporary=True,
        created_at__lte=moment,
        parent__isnull=True,  # a child goes with its parent
    )


@transact
def delete_expired_session(session_id: uuid.UUID, seconds: float) -> bool:
    """Delete a temporary session if it is still due; never one in which a turn is live."""
    sessions = locked_session(session_id)
    # Looked at once more, under the lock: a message may have come meanwhile.
    if not sessions or not _expired(seconds).filter(pk=session_id).exists():
        return False
    _do_delete_with_children(sessions[0])
    return True


def _do_delete_with_children(session: Session) -> None:
    """Delete a session, whose lock the caller holds, and what it reserved of its person's limits."""
    reserving = list(_do_delete(session))
    do_give_back(session.user_id, *reserving)


def _do_delete(session: Session) -> Iterator[Turn]:
    """Delete a session, whose lock the caller holds, with its children, and its files after the commit.

    Yields the turns in it that reserved something.

    The worker of a running turn writes on until it hears of it, and the log alone would let it: so the turn's next
    seq is taken by its end, the only thing that stays: until the worker has stopped (``forget_deleted_turn``), and
    if it is lost, until the sweep comes by.
    """
    session_id = session.id
    for child in Session.objects.locked().filter(parent=session).order_by("pk"):
        yield from _do_delete(child)
    yield from session.turns.filter(reserved__gt=0, finished_at__isnull=True)
    announce(session.id, session.user_id)
    running = session.turns.filter(status=Turn.Status.RUNNING).values_list("pk", flat=True).first()
    end = EventBatch.after_log(running) if running else None
    files = list(session.files.values_list("pk", flat=True))
    # Links between turns first: the cascade need not sort them out row by row.
    session.turns.filter(next_turn__isnull=False).update(next_turn=None)
    session.delete()
    forget_session(session_id)
    transaction.on_commit(lambda: remove_workspace(session_id), robust=True)
    transaction.on_commit(removal_of(files), robust=True)
    if end is not None:
        end.append(schema.abort("stopped"))
        end.write()
        transaction.on_commit(lambda: publish.stop_requested(end.turn_id), robust=True)


@transact
def forget_deleted_turn(turn_id: uuid.UUID, session_id: uuid.UUID) -> None:
    """Remove what is left of a turn if its session was deleted: its log, and what its tools wrote meanwhile.

    Called by the worker that ran it.
    """
    if not Turn.objects.filter(pk=turn_id).exists():
        TurnEvent.objects.filter(turn_id=turn_id).delete()
    if not Session.objects.filter(pk=session_id).exists():
        transaction.on_commit(lambda: remove_workspace(session_id), robust=True)


def forget_deleted_turns(before: uuid.UUID, most: int) -> tuple[int, uuid.UUID | None]:
    """Do the same for the last ``most`` logs before this id, whose workers may be lost; for the sweep.

    A worker that is alive after all loses nothing: whatever it appends now is as useless, and goes the same way.

    Returns how many events were removed, and the id to go on before; None when there are no more.
    """
    logs = _logs_before(before, most)
    # The logs are read first: a turn is there before its first event is.
    gone = set(logs) - set(Turn.objects.filter(pk__in=logs).values_list("pk", flat=True))
    removed = _delete_logs(gone) if gone else 0
    return removed, logs[-1] if len(logs) == most else None


@transact
def _delete_logs(turn_ids: Collection[uuid.UUID]) -> int:
    return TurnEvent.objects.filter(turn_id__in=turn_ids).delete()[0]


def _logs_before(before: uuid.UUID, most: int) -> list[uuid.UUID]:
    """Return the ids of turns that have events, the largest first.

    One look into the primary key for each: DISTINCT would read every event.
    """
    key = TurnEvent._meta.get_field("turn").target_field
    events = connection.ops.quote_name(TurnEvent._meta.db_table)
    largest = f"SELECT turn_id FROM {events} WHERE turn_id < {{}} ORDER BY turn_id DESC LIMIT 1"  # noqa: S608
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH RECURSIVE logs(id, number) AS (SELECT ({largest.format('%s')}), 1 UNION ALL "  # noqa: S608
            f"SELECT ({largest.format('logs.id')}), number + 1 FROM logs WHERE id IS NOT NULL AND number < %s) "
            "SELECT id FROM logs WHERE id IS NOT NULL ORDER BY number",
            [key.get_db_prep_value(before, connection), most],
        )
        return [key.to_python(turn_id) for (turn_id,) in cursor.fetchall()]


def _of_client(user: User, client_id: str) -> Session | None:
    return Session.objects.visible_to(user).filter(client_id=client_id).first()


def _checked(user: User, changes: dict[str, Any]) -> dict[str, Any]:
    """Return the columns to write; a title that a person chose is never replaced by a model's."""
    columns = dict(changes)
    if "title" in columns:
        columns["title"] = " ".join(
            check_user_text(columns["title"], what="The title", most=10 * TITLE_MAX).split()
        )
        if len(columns["title"]) > TITLE_MAX:
            raise Invalid(f"A title has at most {TITLE_MAX} characters.", title="too long")
        chosen = columns["title"] != ""
        columns["title_source"] = Session.TitleSource.PERSON if chosen else Session.TitleSource.AUTO
    if columns.get("model"):
        _check_model(columns["model"])
    if "instructions" in columns:
        columns["instructions"] = check_user_text(
            columns["instructions"], what="The instructions", most=INSTRUCTIONS_MAX
        )
    if columns.get("preset") is not None:
        columns["preset"] = visible_preset(user, columns["preset"])
    if columns.get("tools") is not None:
        columns["tools"] = _known_globs(columns["tools"])
    if columns.get("approval_mode", "default") not in Session.ApprovalMode.values:
        raise invalid({"approval_mode": f"must be one of {', '.join(Session.ApprovalMode.values)}."})
    return columns


def _check_model(model: str) -> None:
    try:
        models.check_model(model)
    except models.UnknownModel as error:
        raise Invalid(str(error), code="unknown_model", model=model) from error


def _known_globs(globs: Sequence[str]) -> list[str]:
    names = tools_registry.tool_names()
    for glob in globs:
        if not any(fnmatchcase(name, glob) for name in names):
            raise Invalid(f"No tool matches {glob!r}.", tools=[glob])
    return list(globs)
