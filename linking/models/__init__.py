"""Who may call, and which places on other platforms belong to whom."""

from linking.models.bots import Bot, BotKey
from linking.models.keys import LoginToken, PersonalKey
from linking.models.links import Link, ServerLink, UserLink
from linking.models.threads import Thread
from linking.models.tokens import LinkToken
from linking.models.webhooks import Webhook, WebhookDelivery

__all__ = [
    "Bot",
    "BotKey",
    "Link",
    "LinkToken",
    "LoginToken",
    "PersonalKey",
    "ServerLink",
    "Thread",
    "UserLink",
    "Webhook",
    "WebhookDelivery",
]
