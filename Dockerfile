# The gateway, as `understudy serve` runs it. Settings come in as environment variables: see .env.template.
#
#   docker build -t understudy .
#   docker run --env-file .env -p 127.0.0.1:4100:4100 understudy
#
# Beyond loopback, and a container's port is, UNDERSTUDY_TOKEN has to be set. `docker run … understudy check` says what
# the settings come to. requirements.lock is resolved for this Python.

FROM python:3.11-slim AS build
# Which of the package's extras are installed; with langfuse too: --build-arg EXTRAS=gateway,langfuse
ARG EXTRAS=gateway
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY requirements.lock ./
# Everything that is locked, its hashes checked; what is installed below is chosen from these files, and nothing else.
RUN pip download --quiet --require-hashes --no-deps --dest /wheels -r requirements.lock \
 && pip install --quiet --no-index --find-links /wheels setuptools wheel
COPY . .
RUN pip wheel --no-build-isolation --no-deps --wheel-dir /wheels . \
 && python -m venv --without-pip /opt/understudy \
 && pip --python /opt/understudy/bin/python install --no-index --find-links /wheels "understudy[$EXTRAS]"

FROM python:3.11-slim
# A fixed number, for the rights of volumes and for clusters that insist on knowing it is not root's.
RUN useradd --uid 10001 --create-home understudy \
 && mkdir --mode=700 /home/understudy/.understudy \
 && chown 10001:10001 /home/understudy/.understudy
COPY --from=build /opt/understudy /opt/understudy
ENV PATH=/opt/understudy/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /home/understudy
USER 10001:10001
EXPOSE 4100
# Asked past any proxy that is set for the providers.
HEALTHCHECK --interval=10s --timeout=5s --start-period=15s --retries=3 CMD ["python", "-c", "\
from urllib.request import ProxyHandler, build_opener; \
build_opener(ProxyHandler({})).open('http://127.0.0.1:4100/livez', timeout=3)"]
ENTRYPOINT ["understudy"]
CMD ["serve", "--host", "0.0.0.0"]
