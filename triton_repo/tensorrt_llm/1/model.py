"""Triton's entry point into trtkit; what it does is in ``toolkit.serving.model``."""

import json
import sys
from pathlib import Path

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        parameters = {
            key: value["string_value"] for key, value in json.loads(args["model_config"])["parameters"].items()
        }
        # Triton's model process ignores PYTHONPATH, so the package that rendered this repository is named here.
        folder = parameters["toolkit_path"]
        if folder not in sys.path and Path(folder, "toolkit").is_dir():
            sys.path.insert(0, folder)
        from toolkit.serving.model import ServedModel

        self.served = ServedModel.load(pb_utils, args["model_name"], parameters)

    def execute(self, requests):
        self.served.execute(requests)

    def is_ready(self):
        # asked by Triton's model readiness where python_backend has its pull request 430; earlier ones never call it
        return self.served.ready

    def finalize(self):
        self.served.close()
