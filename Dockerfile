# The web UI on an NVIDIA GPU, its workspace in a volume: see "In a container" in docs/ui.md.
#
#     docker build -t sdlora .
#     docker run --gpus all -p 7860:7860 -v sdlora:/workspace sdlora
FROM python:3.11-slim

# The container's driver is the host's; all else of CUDA comes with torch.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    SDLORA_TORCH=cuda \
    HF_HOME=/workspace/cache/huggingface \
    PIP_NO_CACHE_DIR=1 \
    PYTHONUNBUFFERED=1

RUN useradd --create-home --uid 1000 sdlora \
    && install --directory --owner sdlora --group sdlora /sdlora /workspace
USER sdlora
WORKDIR /sdlora

COPY --chown=sdlora . .
RUN python tools/setup_env.py

VOLUME /workspace
EXPOSE 7860
HEALTHCHECK --start-period=60s --timeout=10s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/healthz', timeout=5)"]
ENTRYPOINT [".venv/bin/sdlora"]
CMD ["ui", "--host", "0.0.0.0", "--workspace", "/workspace"]
