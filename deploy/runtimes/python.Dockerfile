# Python 3.11 and Nimbus's runner. Build context: the runner's folder as `runner/`. `manage.py build_runtimes python3.11` builds it.
FROM debian:bookworm-slim

# First, so that every layer of ours can be told from other people's images.
LABEL nimbus.image=runtime

# apt's settings may be those of the machine that builds (its mirror, its proxy): user code must not find them.
RUN set -eux; \
    export DEBIAN_FRONTEND=noninteractive; \
    apt-get update; \
    apt-get install -y --no-install-recommends python3 tini ca-certificates; \
    rm -rf /etc/apt /var/lib/apt/* /var/cache/* /var/log/* /usr/share/doc/* /usr/share/man/* /usr/share/locale/*; \
    find / -xdev -type f -perm /6000 -exec chmod a-s {} +; \
    mkdir -p /var/task /run/nimbus /opt/nimbus; \
    python3 --version | grep -F 'Python 3.11.'

COPY runner/ /opt/nimbus/
# Started from its bytecode: a script is otherwise compiled anew at every start, and the root is read-only then.
RUN python3 -m compileall -q -b --invalidation-mode unchecked-hash /opt/nimbus

ENV LANG=C.UTF-8
USER 65532:65532
WORKDIR /var/task
# tini reaps what user code leaves behind and gives signals their usual meaning.
ENTRYPOINT ["tini", "--", "python3", "-u", "/opt/nimbus/runner.pyc"]
