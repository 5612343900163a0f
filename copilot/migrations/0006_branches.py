from django.db import migrations, models
from django.db.models import F, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce


def link(apps, schema_editor):
    """Until now there was one branch: each message follows the one before it, and the last one is the head."""
    Message = apps.get_model("copilot", "Message")
    Session = apps.get_model("copilot", "Session")
    placed = Message.objects.filter(seq__isnull=False)
    before = placed.filter(session=OuterRef("session"), seq__lt=OuterRef("seq")).order_by("-seq").values("pk")[:1]
    placed.update(parent=Coalesce(Subquery(before), F("session_id")))
    last = placed.filter(session=OuterRef("pk")).order_by("-seq").values("pk")[:1]
    Session.objects.update(head=Subquery(last))


class Migration(migrations.Migration):

    dependencies = [("copilot", "0005_temporary_sessions")]

    operations = [
        migrations.AddField("session", "rewrites", models.PositiveIntegerField(db_default=0, default=0)),
        migrations.AddField("session", "head", models.UUIDField(default=None, editable=False, null=True)),
        migrations.AddField("message", "parent", models.UUIDField(default=None, editable=False, null=True)),
        migrations.AddField("message", "shown", models.BooleanField(db_default=True, default=True)),
        migrations.RunPython(link, migrations.RunPython.noop),
        migrations.AddConstraint(
            "message",
            models.CheckConstraint(
                name="message_queued_is_in_no_branch",
                condition=~Q(state="queued") | Q(parent__isnull=True, shown=True),
            ),
        ),
        migrations.AddConstraint(
            "message",
            models.UniqueConstraint(name="message_one_shown_child", fields=["parent"], condition=Q(shown=True)),
        ),
        migrations.AddIndex(
            "message", models.Index(name="message_hidden", fields=["parent"], condition=Q(shown=False))
        ),
    ]
