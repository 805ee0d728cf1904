# trtkit with the CPU runtime and the Triton of the wheel nvidia-pytriton (Linux x86_64).
#   docker build -f docker/cpu.Dockerfile -t trtkit:0.1.0-cpu .
# The base image and its digest are those of toolkit/deploy/data/images.lock.yaml.
ARG PYTHON_IMAGE=docker.io/library/python:3.12-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
COPY . .
RUN python3 -m venv /opt/trtkit && /opt/trtkit/bin/pip install --no-cache-dir ".[server,chat]"

FROM ${PYTHON_IMAGE}
COPY --from=build /opt/trtkit /opt/trtkit
RUN install -d -o 10001 -g 10001 /cache
ENV PATH=/opt/trtkit/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/cache \
    HF_HOME=/cache/huggingface \
    TORCHINDUCTOR_CACHE_DIR=/cache/inductor \
    TRITON_CACHE_DIR=/cache/triton \
    HF_HUB_OFFLINE=1 \
    TMPDIR=/tmp
USER 10001:10001
WORKDIR /cache
EXPOSE 8000 8001 8002
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=8s --timeout=7s --retries=2 --start-period=10m CMD ["trtkit", "deploy", "health"]
ENTRYPOINT ["trtkit"]
CMD ["deploy", "run", "/bundle"]
