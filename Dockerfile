# What clusters run: the program with its pinned versions, so that no node installs anything as it starts.
#
#   docker build --target cpu -t REGISTRY/colorize:cpu .
#   docker build --target gpu -t REGISTRY/colorize:gpu .
#
# The first is the base package, the second adds PyTorch, which brings CUDA: a node needs NVIDIA's driver and container
# toolkit alone. cluster.yaml and kubernetes/rayjob.yaml name the image; a job's --working-dir brings the code of the day.

FROM python:3.11-slim-bookworm AS base
# ssh and rsync: how Ray's cluster launcher, from the head too, reaches nodes. wget: how KubeRay asks for their health.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends openssh-client procps rsync wget \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 1000 --shell /bin/bash ray
WORKDIR /opt/colorize
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY colorize_core colorize_core
COPY jobs jobs
# boto3: how the launcher starts machines on AWS.
RUN pip install --no-cache-dir --disable-pip-version-check -c constraints.txt . boto3

FROM base AS gpu
RUN pip install --no-cache-dir --disable-pip-version-check -c constraints.txt '.[gpu]'
USER ray
WORKDIR /home/ray

FROM base AS cpu
USER ray
WORKDIR /home/ray
