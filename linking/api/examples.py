"""Examples of the API document."""

LINK = {
    "id": "019a9d60-1f0a-7b44-8c11-5d2e3f4a5b6c",
    "kind": "server",
    "bot": "concierge",
    "platform": "discord",
    "platform_id": "81384788765712384",
    "platform_name": "Kite Builders",
    "created_at": "2026-01-05T10:02:11.400000Z",
    "platform_user_id": "80351110224678912",
    "platform_user_name": "ada",
    "allows_personal": False,
}
TARGET = {
    "kind": "server",
    "platform_id": "81384788765712384",
    "platform_name": "Kite Builders",
    "platform_user_id": "80351110224678912",
    "platform_user_name": "ada",
}
TOKEN = {
    **TARGET,
    "bot": "concierge",
    "platform": "discord",
    "account": "ada",
    "allows": ["Everybody there can chat with the agents."],
    "expires_at": "2026-01-05T10:30:00Z",
}
ISSUED = {
    "token": "mK2f…",
    "code": "042917",
    "url": "https://copilot.example.org/link/mK2f…",
    "expires_at": "2026-01-05T10:30:00Z",
}
