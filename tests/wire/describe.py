"""Prints, as JSON, what the ext_proc service and every message that it reaches look like: `python describe.py MODULE`."""

import importlib
import json
import sys
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor


def describe(module: str) -> dict[str, Any]:
    file = importlib.import_module(module).DESCRIPTOR
    found: dict[str, Any] = {"methods": {}, "fields": {}, "enums": {}}
    for service in file.services_by_name.values():
        for method in service.methods:
            found["methods"][f"{service.full_name}/{method.name}"] = [
                method.input_type.full_name,
                method.output_type.full_name,
                method.client_streaming,
                method.server_streaming,
            ]
            _messages(method.input_type, found)
            _messages(method.output_type, found)
    return found


def _messages(message: Descriptor, found: dict[str, Any]) -> None:
    if message.full_name in found["fields"] or message.full_name.startswith("google."):
        return
    found["fields"][message.full_name] = {field.name: _field(field) for field in message.fields}
    for field in message.fields:
        if field.message_type:
            _messages(field.message_type, found)
        if field.enum_type:
            found["enums"][field.enum_type.full_name] = {value.name: value.number for value in field.enum_type.values}


def _field(field: FieldDescriptor) -> dict[str, Any]:
    named = field.message_type or field.enum_type
    return {
        "number": field.number,
        "type": field.type,
        "of": named.full_name if named else "",
        "repeated": field.is_repeated,
        "packed": field.is_packed,
        "presence": field.has_presence,
        "oneof": field.containing_oneof.name if field.containing_oneof else "",
    }


if __name__ == "__main__":
    print(json.dumps(describe(sys.argv[1])))
