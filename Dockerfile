# Everything: the simulators, Java, the planner, the embedded model, training and evaluation.
#   docker build -t agemem .
#   docker run --rm agemem make eval VENV=/opt/agemem
#   docker run --rm -v "$PWD/results:/agemem/results" agemem agemem run --suite bounds --episodes 4
FROM python:3.11-slim-bookworm

# Java for ScienceWorld; make for the commands of the README; git for the revision in the records.
# Their versions are those of the Debian release.
# hadolint ignore=DL3008
RUN apt-get update && \
    apt-get install --yes --no-install-recommends git make openjdk-17-jre-headless && \
    rm -rf /var/lib/apt/lists/*

WORKDIR /agemem
COPY . .
RUN make VENV=/opt/agemem /opt/agemem/.test && rm -rf /root/.cache/pip
ENV PATH=/opt/agemem/bin:$PATH

# Nothing runs as root: worlds, models and records are not trusted.
RUN useradd --create-home --uid 1000 player && chown -R 1000 /agemem
USER 1000
CMD ["agemem", "--help"]
