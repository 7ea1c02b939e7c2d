# Everything: the simulators, Java, the planner, the embedded model, training and evaluation.
#   docker build -t agemem .
#   docker run --rm agemem make eval VENV=/opt/agemem
#   docker run --rm -v "$PWD/results:/agemem/results" agemem agemem run --suite bounds --episodes 4
FROM python:3.11-slim-bookworm

# Java for ScienceWorld; make for the commands of the README; git for the revision in the records.
RUN apt-get update && \
    apt-get install --yes --no-install-recommends git make openjdk-17-jre-headless && \
    rm -rf /var/lib/apt/lists/*

WORKDIR /agemem
COPY . .
RUN make VENV=/opt/agemem /opt/agemem/.test && rm -rf /root/.cache/pip
ENV PATH=/opt/agemem/bin:$PATH

# Nothing runs as root: worlds, models and records are not trusted.
RUN useradd --create-home player && chown -R player /agemem
USER player
CMD ["agemem", "--help"]
