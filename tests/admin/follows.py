"""Whether JSON on stdin is what an OpenAPI 3.1 document says of one of its schemas.
It never takes a format for a comment: a date must be one.

    follows.py DOCUMENT SCHEMA
"""

import json
import sys

import jsonschema


def main(document, name):
    with open(document, encoding="utf-8") as file:
        components = json.load(file)["components"]
    schema = {"$ref": f"#/components/schemas/{name}", "components": components}
    validator = jsonschema.Draft202012Validator(
        schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )
    jsonschema.Draft202012Validator.check_schema(schema)
    wrong = validator.iter_errors(json.load(sys.stdin))
    sys.exit("\n".join(f"{error.json_path}: {error.message}" for error in wrong) or 0)


main(*sys.argv[1:])
