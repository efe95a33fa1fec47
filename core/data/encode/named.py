"""Chat templates by name, for tokenizers that bring none.

`END` stands for the token that ends a turn in the tokenizer at hand: a base model has no `<|im_end|>`.
"""

from __future__ import annotations

NAMED = {
    "chatml": "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + 'END' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + 'END' }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
}
