# Serves a model on CPUs:
#   docker build --tag node-mora --file docker/cpu.Dockerfile .
#   docker run --publish 8080:8080 --volume models:/models node-mora serve --host 0.0.0.0 --model MODEL
FROM node:24-trixie-slim AS install
ARG VERSION=latest
RUN MORA_BUILD=required npm install --global --prefix /opt/node-mora node-mora@${VERSION}

FROM node:24-trixie-slim
COPY --from=install /opt/node-mora /opt/node-mora
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
