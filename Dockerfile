# The sketchpad, without PyTorch: docker build --tag digitnet . See docs/sketchpad.md for how to run it.
# The Python version that constraints.txt was tested with
ARG PYTHON=python:3.11-slim

FROM ${PYTHON} AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY digitnet digitnet
COPY checkpoints/release checkpoints/release
# A virtual environment, because it can be copied as a whole.
RUN python3 -m venv /opt/digitnet && \
    /opt/digitnet/bin/pip install --no-cache-dir --constraint constraints.txt '.[app]'

FROM ${PYTHON}
COPY --from=build /opt/digitnet /opt/digitnet
RUN useradd --system --uid 10001 --create-home --home-dir /home/digitnet digitnet
USER 10001
WORKDIR /home/digitnet
# Gradio writes only to the directory for temporary files: run the container with --read-only --tmpfs /tmp.
ENV PATH=/opt/digitnet/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
    CMD ["python3", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 7860, timeout=4); c.request('HEAD', '/'); c.getresponse()"]
STOPSIGNAL SIGINT
ENTRYPOINT ["digitnet", "app", "--host", "0.0.0.0", "--no-open", "--no-corrections"]
