# Serves a model on NVIDIA GPUs, with cuBLAS 12.4 of Debian; the driver (r550 or newer) comes from the NVIDIA Container Toolkit:
#   docker build --tag node-mora-cuda --file docker/cuda.Dockerfile .
#   docker run --gpus all --publish 8080:8080 --volume models:/models node-mora-cuda serve --host 0.0.0.0 --model MODEL
FROM node:24-trixie-slim AS install
ARG VERSION=latest
RUN MORA_BUILD=required npm install --global --prefix /opt/node-mora node-mora@${VERSION} @node-mora/linux-x64-cuda@${VERSION}

FROM node:24-trixie-slim
RUN sed -i 's/^Components: main$/Components: main contrib non-free/' /etc/apt/sources.list.d/debian.sources \
  && apt-get update \
  && apt-get install --yes --no-install-recommends libcublas12 libcublaslt12 \
  && rm -rf /var/lib/apt/lists/*
COPY --from=install /opt/node-mora /opt/node-mora
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
RUN ln -s /opt/node-mora/bin/mora /usr/local/bin/mora && mkdir /models && chown node:node /models
ENV HF_HOME=/models
USER node
WORKDIR /home/node
VOLUME /models
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=10m --start-interval=2s \
  CMD ["node", "-e", "fetch('http://127.0.0.1:8080/health').then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["mora"]
CMD ["--help"]
