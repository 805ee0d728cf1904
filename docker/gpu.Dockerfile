# trtkit on NVIDIA's Triton with TensorRT-LLM.
#   docker build -f docker/gpu.Dockerfile -t trtkit:0.1.0-26.07 .
# The base image and its digest are those of toolkit/deploy/data/images.lock.yaml. A recipe's release decides the tag:
# `trtkit deploy compose RECIPE` gives it as a build argument.
ARG TRITON_IMAGE=nvcr.io/nvidia/tritonserver:26.07-trtllm-python-py3

FROM ${TRITON_IMAGE} AS wheel
WORKDIR /src
COPY . .
RUN python3 -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM ${TRITON_IMAGE}
ENV PIP_BREAK_SYSTEM_PACKAGES=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# sshd carries MPI between nodes; the version is that of the base image's distribution
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends openssh-server \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --home-dir /cache --shell /bin/sh trtkit \
    && install -d -o 10001 -g 10001 /cache
# The image's packages keep their versions: TensorRT-LLM was made with these. Only openai 1.107.3 goes, with which it
# cannot be imported (toolkit/preflight/data/probes.yaml). TensorRT-LLM brings its own openai-harmony, which `chat` takes.
COPY --from=wheel /wheels /wheels
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN python3 -m pip freeze --all | grep -E '^[A-Za-z0-9._-]+==' | grep -v '^openai==1\.107\.3$' > /tmp/constraints.txt \
    && if python3 -m pip freeze | grep -q '^openai==1\.107\.3$'; then echo 'openai>1.107.3' > /tmp/also.txt; else : > /tmp/also.txt; fi \
    && wheel=(/wheels/*.whl) \
    && python3 -m pip install --no-cache-dir --constraint /tmp/constraints.txt --requirement /tmp/also.txt "${wheel[0]}[chat]" \
    && rm -r /wheels /tmp/constraints.txt /tmp/also.txt
ENV HOME=/cache \
    HF_HOME=/cache/huggingface \
    TORCHINDUCTOR_CACHE_DIR=/cache/inductor \
    TRITON_CACHE_DIR=/cache/triton \
    HF_HUB_OFFLINE=1 \
    TMPDIR=/tmp
USER 10001:10001
WORKDIR /cache
EXPOSE 8000 8001 8002
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=8s --timeout=7s --retries=2 --start-period=20m CMD ["trtkit", "deploy", "health"]
ENTRYPOINT ["trtkit"]
CMD ["deploy", "run", "/bundle"]
