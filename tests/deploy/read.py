"""The documents of YAML files as one JSON list, read as strictly as those who use them read them.
It never mends anything: a key that is there twice, or unknown to Kubernetes, is an error.

    read.py [--kubernetes] FILE...
"""

import json
import sys

import yaml


class Strict(yaml.SafeLoader):
    """Refuses doubled keys, and knows Docker Compose's own tag."""

    def construct_mapping(self, node, deep=False):
        own = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        doubled = {key for key in own if own.count(key) > 1}
        if doubled:
            raise yaml.constructor.ConstructorError(
                None, None, f"{sorted(doubled)} is there twice", node.start_mark
            )
        return super().construct_mapping(node, deep)


Strict.add_constructor("!reset", lambda loader, node: "!reset")


def main(arguments):
    kubernetes = arguments[:1] == ["--kubernetes"]
    documents = []
    for path in arguments[1:] if kubernetes else arguments:
        with open(path, encoding="utf-8") as file:
            documents += yaml.load_all(file, Loader=Strict)
    if kubernetes:
        import kubernetes_validate

        version = kubernetes_validate.latest_version()
        for document in documents:
            kubernetes_validate.validate(document, version, strict=True)
    json.dump(documents, sys.stdout)


main(sys.argv[1:])
