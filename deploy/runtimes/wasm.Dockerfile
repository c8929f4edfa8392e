# Wasmtime and Nimbus's runner, which is in Python. Build context: the runner's folder as `runner/`, the wheels that it lists as `wheels/`. `manage.py build_runtimes wasm` builds it.
FROM debian:trixie-slim

# First, so that every layer of ours can be told from other people's images.
LABEL nimbus.image=runtime

# apt's settings may be those of the machine that builds (its mirror, its proxy): user code must not find them.
RUN set -eux; \
    export DEBIAN_FRONTEND=noninteractive; \
    apt-get update; \
    apt-get install -y --no-install-recommends python3 tini; \
    rm -rf /etc/apt /var/lib/apt/* /var/cache/* /var/log/* /usr/share/doc/* /usr/share/man/* /usr/share/locale/*; \
    find / -xdev -type f -perm /6000 -exec chmod a-s {} +; \
    mkdir -p /var/task /run/nimbus /opt/nimbus

COPY wheels/ /tmp/wheels/
# A wheel is a zip of what is to be imported. Bytecode, because the root is read-only when it runs.
RUN set -eux; \
    for wheel in /tmp/wheels/*.whl; do python3 -m zipfile -e "$wheel" /opt/nimbus; done; \
    rm -rf /tmp/wheels; \
    python3 -m compileall -q --invalidation-mode unchecked-hash /opt/nimbus

COPY runner/ /opt/nimbus/
RUN python3 -m compileall -q --invalidation-mode unchecked-hash /opt/nimbus; python3 -m compileall -q -b --invalidation-mode unchecked-hash /opt/nimbus/runner.py

ENV LANG=C.UTF-8
USER 65532:65532
WORKDIR /var/task
# tini passes signals on with their usual meaning.
ENTRYPOINT ["tini", "--", "python3", "-u", "/opt/nimbus/runner.pyc"]
