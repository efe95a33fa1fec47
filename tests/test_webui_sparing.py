"""What is set right of Gradio's server: a session holds a component once, however often it was updated and read."""

from __future__ import annotations

import asyncio

import gradio as gr
from gradio.state_holder import SessionState

from webui.sparing import spare_the_server


def test_a_component_that_is_updated_and_read_is_kept_once() -> None:
    spare_the_server()
    put = SessionState.__setitem__
    spare_the_server()
    assert SessionState.__setitem__ is put  # once is enough
    with gr.Blocks() as blocks:
        chosen = gr.Dropdown(["a"], value="a")
        gr.Button().click(lambda value: gr.update(choices=[value, "b"]), chosen, chosen)
    session = SessionState(blocks)
    (event,) = blocks.fns.values()
    for _ in range(4):
        asyncio.run(blocks.process_api(event, ["a"], state=session))
    assert session.blocks_config.blocks.keys() == session.config_values.keys() == blocks.blocks.keys()
    assert session[chosen._id].choices == [("a", "a"), ("b", "b")]
