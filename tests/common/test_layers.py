"""The channel layer of a single process."""

from __future__ import annotations

from common.layers import LocalChannelLayer


async def test_everybody_in_the_group_gets_the_message_and_nobody_else() -> None:
    layer = LocalChannelLayer()
    inside = [await layer.new_channel() for _ in range(3)]
    outside = await layer.new_channel()
    for channel in inside:
        await layer.group_add("turn.1", channel)
    await layer.group_add("turn.2", outside)
    await layer.group_send("turn.1", {"type": "x", "n": 1})
    assert [await layer.receive(channel) for channel in inside] == [{"type": "x", "n": 1}] * 3
    assert outside not in layer.channels
    await layer.group_send("turn.3", {"type": "x"})  # nobody listens: nothing is kept
    assert not layer.channels


async def test_who_does_not_read_misses_messages_and_holds_nobody_up() -> None:
    layer = LocalChannelLayer(capacity=2)
    slow, quick = await layer.new_channel(), await layer.new_channel()
    await layer.group_add("g", slow)
    await layer.group_add("g", quick)
    seen = []
    for n in range(4):
        await layer.group_send("g", {"n": n})
        seen.append((await layer.receive(quick))["n"])
    assert seen == [0, 1, 2, 3]
    assert [(await layer.receive(slow))["n"] for _ in range(2)] == [0, 1]
