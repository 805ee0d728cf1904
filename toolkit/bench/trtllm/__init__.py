"""NVIDIA's ``trtllm-bench``: what it printed (parse), what it is given (dataset, argv), one watched run (runner)."""
