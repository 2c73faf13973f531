"""Streams of events as providers, proxies and servers of models send them, and as the standard allows them: our own
transcripts. Nothing in them is to be changed by a gateway, so what arrives is what was sent, byte for byte. No text in them
ends as a placeholder begins: its end would rightly leave with the next.
"""

from collections.abc import Mapping

CHAT = (
    'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"gpt-x","choices":'
    '[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}],'
    '"usage":null,"obfuscation":"Xy7"}\n\n'
    'data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"content":"Dear [NAME], "},"finish_reason":null}]}\n\n'
    'data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"content":"caf\\u00e9 \\ud83d\\ude00"},"finish_reason":null}]}\n\n'
    'data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"content":"ü 😀 \u2028 e\u0301"},"finish_reason":null}]}\n\n'
    'data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    'data: {"id":"chatcmpl-1","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":7,"total_tokens":16}}\n\n'
    "data: [DONE]\n\n"
).encode()

AZURE = (
    b'data: {"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[{"prompt_index":0,'
    b'"content_filter_results":{"hate":{"filtered":false,"severity":"safe"}}}]}\n\n' + CHAT
)

CALLS = (
    b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":null,"tool_calls":[{"index":0,"id":"call_1",'
    b'"type":"function","function":{"name":"mail","arguments":""}}]},"finish_reason":null}]}\n\n'
    b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\\"to\\""}}]}}]}\n\n'
    b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":":\\"\\\\u00e9[[E."}}]}}]}\n\n'
    b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"MAIL\\"}"}}]}}]}\n\n'
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}\n\n'
    b"data: [DONE]\n\n"
)

VLLM = (
    b'data: {"id":"cmpl-1","choices":[{"index":0,"text":" one","stop_reason":null}],"usage":{"prompt_tokens":1,'
    b'"total_tokens":2,"completion_tokens":1}}\n\n'
    b'data: {"id":"cmpl-1","choices":[{"index":0,"text":" two","stop_reason":null}],"usage":{"prompt_tokens":1,'
    b'"total_tokens":3,"completion_tokens":2}}\n\n'
    b"data: [DONE]\n\n"
)

OPENROUTER = b": OPENROUTER PROCESSING\n\n" * 3 + CHAT.replace(
    b"\n\ndata: {", b"\n\n: OPENROUTER PROCESSING\n\ndata: {"
)

RESPONSES = (
    b'event: response.created\ndata: {"type":"response.created","sequence_number":0,"response":{"id":"resp_1","output":[]}}\n\n'
    b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","sequence_number":1,"item_id":"msg_1",'
    b'"output_index":0,"content_index":0,"delta":"Well","logprobs":[],"obfuscation":"aB"}\n\n'
    b'event: response.output_text.done\ndata: {"type":"response.output_text.done","sequence_number":2,"item_id":"msg_1",'
    b'"output_index":0,"content_index":0,"text":"Well"}\n\n'
    b'event: response.completed\ndata: {"type":"response.completed","sequence_number":3,"response":{"id":"resp_1","output":'
    b'[{"type":"message","content":[{"type":"output_text","text":"Well"}]}],"usage":{"input_tokens":3,"output_tokens":1,'
    b'"total_tokens":4}}}\n\n'
)

MESSAGES = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant",'
    b'"content":[],"usage":{"input_tokens":25,"cache_read_input_tokens":3,"output_tokens":1}}}\n\n'
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":{"type":"thinking",'
    b'"thinking":"","signature":""}}\n\n'
    b'event: ping\ndata: {"type": "ping"}\n\n'
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta",'
    b'"thinking":"Hm"}}\n\n'
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta",'
    b'"signature":"EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pk="}}\n\n'
    b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
    b'event: content_block_start\ndata: {"type":"content_block_start","index":1,"content_block":{"type":"tool_use",'
    b'"id":"toolu_1","name":"mail","input":{}}}\n\n'
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta",'
    b'"partial_json":""}}\n\n'
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta",'
    b'"partial_json":"{\\"a\\": \\"[\\"}"}}\n\n'
    b'event: content_block_stop\ndata: {"type":"content_block_stop","index":1}\n\n'
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},'
    b'"usage":{"output_tokens":15}}\n\n'
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)

OVERLOADED = (
    MESSAGES[: MESSAGES.index(b"event: ping")]
    + b'event: error\ndata: {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}\n\n'
)

GEMINI = (
    b'data: {"candidates": [{"content": {"parts": [{"text": "One"}],"role": "model"},"index": 0}],"usageMetadata": '
    b'{"promptTokenCount": 4,"candidatesTokenCount": 1,"totalTokenCount": 5},"modelVersion": "gemini-x"}\r\n\r\n'
    b'data: {"candidates": [{"content": {"parts": [{"text": " two"}],"role": "model"},"finishReason": "STOP","index": 0}],'
    b'"usageMetadata": {"promptTokenCount": 4,"candidatesTokenCount": 2,"totalTokenCount": 6}}\r\n\r\n'
)

LINES = (
    b'data: {\ndata: "choices": [\ndata:   {"index": 0, "delta": {"content": "several\\nlines"}}\ndata: ]}\n\n'
    b"data: \ndata\ndata:\n\n"
    b"data:[DONE]\n\n"
)

FIELDS = (
    b":\n\n::\n: \n\nretry: 3000\n\nid: 1\nevent: odd\n\nid\nid: a\x00b\ndata:{}\n\nunknown: x\nnothing\ndata:  two spaces\n\n"
    b"DATA: {}\n\n data: {}\n\nevent:x\nevent: y\ndata: plain text [\n\ndata: [1, 2]\n\ndata: null\n\ndata: {broken\n\n"
    b"\n\n\n\n"
)

LONG = (
    b": " + b"c" * 200_000 + b"\n\n"
    b'data: {"choices":[{"index":0,"delta":{"content":"' + b"long " * 60_000 + b'"}}]}\n\n'
    b'data: {"choices":[{"index":0,"delta":{"content":"' + b"[" * 100_000 + b'."}}]}\n\n'
    b"data: [DONE]\n\n"
)

MIXED = (
    b'data: {"choices":[{"index":0,"delta":{"content":"1"}}]}\r\n\r\n'
    b'data: {"choices":[{"index":0,"delta":{"content":"2"}}]}\r\r'
    b'data: {"choices":[{"index":0,"delta":{"content":"3"}}]}\n\r\n'
    b': comment\rdata: {"choices":[{"index":0,"delta":{"content":"4"}}]}\r\n\n'
    b"data: [DONE]\r\n\r"
)

SHAPES: Mapping[str, bytes] = {
    "chat": CHAT,
    "chat in CRLF": CHAT.replace(b"\n", b"\r\n"),
    "chat in CR": CHAT.replace(b"\n", b"\r"),
    "chat with a BOM": b"\xef\xbb\xbf" + CHAT,
    "chat without its last empty line": CHAT[:-1],
    "chat that ends in an event": CHAT[: CHAT.index(b"\\ud83d")],
    "azure": AZURE,
    "calls": CALLS,
    "vllm": VLLM,
    "openrouter": OPENROUTER,
    "responses": RESPONSES,
    "messages": MESSAGES,
    "messages in CRLF": MESSAGES.replace(b"\n", b"\r\n"),
    "overloaded": OVERLOADED,
    "gemini": GEMINI,
    "data of several lines": LINES,
    "odd fields": FIELDS,
    "long events": LONG,
    "mixed line ends": MIXED,
    "keep-alives alone": b":\n\n" * 300,
    "nothing": b"",
}
