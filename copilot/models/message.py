"""What was said."""

from __future__ import annotations

from typing import Any, Self

from django.db import models
from django.db.models import Q

from common.ids import new_id
from common.prepared import prepared

#: The origin of a message that no turn here answered or wrote.
GIVEN = "given"


class MessageQuerySet(models.QuerySet["Message"]):
    """Composable selections of messages."""

    def settled(self) -> Self:
        """Messages with a place in the transcript whose content is final."""
        return self.filter(state__in=[Message.State.DONE, Message.State.PARTIAL, Message.State.FAILED])

    def shown(self) -> Self:
        """Messages of the branch that is shown; queued ones too, they are in none yet."""
        return self.filter(shown=True)

    def queued(self) -> Self:
        """Messages accepted while a turn was live, in the order in which they were typed."""
        return self.filter(state=Message.State.QUEUED).order_by("number")


class Message(models.Model):
    """One message of a session. A queued message is one too: its id stays when it is delivered."""

    class Role(models.TextChoices):
        USER = "user"
        ASSISTANT = "assistant"

    class State(models.TextChoices):
        QUEUED = "queued"  # waits for its turn; then done, or deleted when withdrawn
        OPEN = "open"  # an answer being written; then done, partial or failed. Not shown: the log has it
        DONE = "done"
        PARTIAL = "partial"  # the answer of a failed or cancelled turn
        FAILED = "failed"  # a failed turn said nothing at all

    class Standing(models.TextChoices):
        OWNER = "owner"  # the session's owner, by an identity that they linked
        GUEST = "guest"  # somebody to whom the owner lends instructions and MCP servers

    class Delivery(models.TextChoices):
        ASAP = "asap"  # into the running turn, between two steps
        NEXT = "next"  # with the next turn
        INTERRUPT = "interrupt"  # into the running turn, whose step is cut short

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    session = models.ForeignKey("copilot.Session", on_delete=models.CASCADE, related_name="messages")
    #: The turn that answers it, or that wrote it.
    turn = models.ForeignKey("copilot.Turn", on_delete=models.CASCADE, null=True, related_name="messages")
    role = models.CharField(max_length=9, choices=Role)
    state = models.CharField(max_length=7, choices=State)
    #: Place in the transcript, dense from 1; none while queued.
    seq = models.PositiveIntegerField(null=True, default=None)
    #: The message that was shown before it when it got its place; the first one's is the session. Null while
    #: queued. Messages with the same parent are branches of the conversation; at most one of them is shown. No
    #: foreign key: its check would lock the parent's row for each message.
    parent = models.UUIDField(null=True, default=None, editable=False)
    #: In the transcript that people and models read. What is edited or answered anew is kept, but not shown.
    shown = models.BooleanField(default=True, db_default=True)
    #: Order of acceptance in its session; what "typing order" means.
    number = models.PositiveIntegerField()
    #: AI SDK UI message parts.
    parts = models.JSONField(default=list)
    #: Where it was sent, as of turns: says whether the session's owner wrote it in person. ``given``: it was said
    #: elsewhere, and given along as what came before (``GIVEN``).
    origin = models.CharField(max_length=10, default="web", db_default="web")
    #: Who wrote it, as the platform of the bot that sent it calls them; a page's own messages need no name.
    author = models.CharField(max_length=200, blank=True, default="", db_default="")
    #: Of a message that a bot sent: how its writer stands to the session's owner. Empty: a stranger.
    standing = models.CharField(max_length=5, choices=Standing, blank=True, default="", db_default="")
    #: How its sender wants it delivered while a turn runs.
    delivery = models.CharField(max_length=9, choices=Delivery, default=Delivery.NEXT, db_default="next")
    #: Delivered into a running turn, after so many of its steps; none when a turn began with it.
    after_step = models.PositiveIntegerField(null=True, default=None)
    #: Queued, and not delivered by itself: the turn before it did not complete.
    held = models.BooleanField(default=False)
    #: Held because a usage limit was reached: until when that lasts, unless an operator lifts it before. No
    #: constraint ties it to ``held``: code that does not know it, as during an update, delivers and leaves it.
    held_until = models.DateTimeField(null=True, default=None)
    client_id = models.CharField(max_length=128, null=True, default=None)  # noqa: DJ001 - null is "none given"
    #: Digest of the request that sent it, to tell a repetition from a reused ``client_id``.
    request_digest = models.CharField(max_length=64, blank=True, default="")
    #: What the sender asked for: model, effort, timezone, context.
    options = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = MessageQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(name="message_role_is_known", condition=Q(role__in=["user", "assistant"])),
            models.CheckConstraint(
                name="message_state_is_known",
                condition=Q(state__in=["queued", "open", "done", "partial", "failed"]),
            ),
            models.CheckConstraint(
                name="message_queued_iff_no_seq",
                condition=Q(state="queued", seq__isnull=True) | Q(~Q(state="queued"), seq__isnull=False),
            ),
            models.CheckConstraint(
                name="message_queued_is_a_users",
                condition=~Q(state="queued") | Q(role="user", turn__isnull=True),
            ),
            models.CheckConstraint(
                name="message_open_is_an_answer", condition=~Q(state="open") | Q(role="assistant")
            ),
            models.CheckConstraint(name="message_held_is_queued", condition=Q(held=False) | Q(state="queued")),
            models.CheckConstraint(
                name="message_delivery_is_known", condition=Q(delivery__in=["asap", "next", "interrupt"])
            ),
            # Where the origin tells who wrote it, nothing else does.
            models.CheckConstraint(
                name="message_standing_is_of_a_bots",
                condition=Q(standing="") | Q(standing__in=["owner", "guest"], origin="bot"),
            ),
            models.CheckConstraint(
                name="message_after_step_was_delivered",
                condition=Q(after_step__isnull=True) | Q(role="user", state="done", turn__isnull=False),
            ),
            models.CheckConstraint(
                name="message_queued_is_in_no_branch",
                condition=~Q(state="queued") | Q(parent__isnull=True, shown=True),
            ),
            models.UniqueConstraint(name="message_one_shown_child", fields=["parent"], condition=Q(shown=True)),
            models.UniqueConstraint(name="message_one_per_seq", fields=["session", "seq"]),
            models.UniqueConstraint(name="message_one_per_number", fields=["session", "number"]),
            models.UniqueConstraint(
                name="message_one_per_client_id",
                fields=["session", "client_id"],
                condition=Q(client_id__isnull=False),
            ),
            models.UniqueConstraint(name="message_one_open_a_turn", fields=["turn"], condition=Q(state="open")),
        ]
        indexes = [
            # Follow-ups of a session; the sweep's look for strays.
            models.Index(name="message_queue", fields=["session", "number"], condition=Q(state="queued")),
            # The other branches at a place. Most sessions have none, and pay nothing for it.
            models.Index(name="message_hidden", fields=["parent"], condition=Q(shown=False)),
        ]

    def __str__(self) -> str:
        return f"{self.role} {self.seq or 'queued'}"

    @property
    def text(self) -> str:
        """All text parts, joined with nothing between."""
        parts: list[dict[str, Any]] = self.parts
        return "".join(part["text"] for part in parts if part.get("type") == "text")


@prepared
def queued_in(session_id: Any) -> MessageQuerySet:
    """Return the messages that wait in a session, in the order in which they were typed."""
    return Message.objects.filter(session_id=session_id).queued()


@prepared
def answers_of(turn_id: Any) -> MessageQuerySet:
    """Return the messages that a turn wrote or writes, in order: one more behind follow-ups delivered into it."""
    return Message.objects.filter(turn_id=turn_id, role=Message.Role.ASSISTANT).order_by("seq")


@prepared
def open_answer_of(turn_id: Any) -> MessageQuerySet:
    """Return the message that a turn is writing: one, or none once it was sealed."""
    return Message.objects.filter(turn_id=turn_id, state=Message.State.OPEN)
