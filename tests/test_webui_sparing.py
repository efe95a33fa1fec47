"""What is set right of Gradio's server: a session holds a component once; who left leaves no traceback in the log."""

from __future__ import annotations

import asyncio
import logging

import gradio as gr
import pytest
from fastapi import FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient
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


def test_a_page_that_left_is_no_error_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    spare_the_server()

    def error_of(status: int) -> BaseException:
        """What reaches the server when an answer that has begun ends in an HTTP error."""
        app = FastAPI()

        @app.get("/")
        def stream() -> StreamingResponse:
            async def parts():
                yield "begun"
                raise HTTPException(status)

            return StreamingResponse(parts())

        with pytest.raises(RuntimeError) as raised, TestClient(app) as client:
            client.get("/")
        return raised.value

    for status in (404, 500):
        logging.getLogger("uvicorn.error").error("Exception in ASGI application", exc_info=error_of(status))
    (kept,) = caplog.records
    assert kept.exc_info
    assert "500" in str(kept.exc_info[1].__cause__)
