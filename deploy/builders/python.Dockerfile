# The Python builder: Python 3.11 as its sandboxes have it, and pip. No compiler: packages come as wheels, or as sources in plain Python.
# Build context: the builder's program as `builder/`, pip as `wheels/`. `manage.py build_runtimes builder-python` builds it.
FROM debian:bookworm-slim

# First, so that every layer of ours can be told from other people's images.
LABEL nimbus.image=builder

# apt's settings may be those of the machine that builds (its mirror, its proxy): user code must not find them.
RUN set -eux; \
    export DEBIAN_FRONTEND=noninteractive; \
    apt-get update; \
    apt-get install -y --no-install-recommends python3 tini ca-certificates; \
    rm -rf /etc/apt /var/lib/apt/* /var/cache/* /var/log/* /usr/share/doc/* /usr/share/man/* /usr/share/locale/*; \
    find / -xdev -type f -perm /6000 -exec chmod a-s {} +; \
    python3 --version | grep -F 'Python 3.11.'

COPY wheels/ /opt/wheels/
RUN set -eux; \
    python3 -m zipfile -e /opt/wheels/pip-*.whl /opt/pip; \
    python3 -m compileall -q /opt/pip; \
    PYTHONPATH=/opt/pip python3 -m pip --version
# The builder works in a tmpfs there, which takes over the mode.
RUN mkdir -m 1777 /work
COPY builder/ /opt/nimbus/

ENV LANG=C.UTF-8 PYTHONPATH=/opt/pip PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
WORKDIR /work
ENTRYPOINT ["tini", "--", "python3", "-u", "/opt/nimbus/build.py"]
