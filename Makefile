# Builds and runs the site with docker compose. `make help` lists the targets.

# Whose site it is: the setting, else LOGIN of the environment, else who runs make, by sudo or not.
LOGIN := $(or $(shell sed -n 's/^LOGIN=//p' srcs/.env 2>/dev/null),$(LOGIN),$(if $(filter 0,$(shell id -u)),$(SUDO_USER)),$(shell id -un))
DOMAIN := $(LOGIN).42.fr
DATA := /home/$(LOGIN)/data
# User and group that the services run as: those of the login's home, never root.
RUN_AS := $(or $(shell sed -n 's/^RUN_AS=//p' srcs/.env 2>/dev/null),$(filter-out 0:%,$(shell stat -c %u:%g /home/$(LOGIN) 2>/dev/null)),1000:1000)
# Its version, which build asks for, and how it is called.
FOUND := $(shell docker compose version --short 2>/dev/null && echo docker compose || \
    { docker-compose version --short 2>/dev/null || echo 0; echo docker-compose; })
COMPOSE_VERSION := $(firstword $(FOUND))
COMPOSE := $(wordlist 2,3,$(FOUND)) -p inception -f srcs/docker-compose.yml
EVERY := $(COMPOSE) --profile bonus
UP := srcs/tools/up
export LOGIN RUN_AS COMPOSE COMPOSE_VERSION UP
# Only srcs/.env counts, which is checked: compose would prefer what the caller's environment happens to have.
unexport DOMAIN SITE_TITLE SITE_TAGLINE WP_ADMIN_USER WP_ADMIN_EMAIL WP_AUTHOR_USER WP_AUTHOR_EMAIL DB_NAME DB_USER
unexport FTP_USER FTP_ADDRESS BONUS COMPOSE_PROFILES COMPOSE_FILE COMPOSE_ENV_FILES COMPOSE_DISABLE_ENV_FILE COMPOSE_PROJECT_NAME
.NOTPARALLEL:
FILE ?= /home/$(LOGIN)/site-$(shell date +%Y%m%d-%H%M%S).tar.gz

.PHONY: all bonus settings prepare down stop start re clean fclean logs ps status mail passwords backup restore help

all: prepare ## build, start, and return when every service is healthy
	@$(UP) || { srcs/tools/explain; exit 1; }
	@srcs/tools/status $(DOMAIN)

bonus: export BONUS = on
bonus: export COMPOSE_PROFILES = bonus
bonus: all ## the same with the bonus services

settings:
	@srcs/tools/settings

prepare: settings
	@srcs/tools/build
	@srcs/tools/certificate $(DOMAIN)

down: ## remove the containers and the network; data and images stay
	@$(EVERY) down

stop: ## stop the services
	@$(EVERY) stop

start: ## start stopped services
	@$(EVERY) start

re: down all ## down, then all

clean: ## down, and remove images and volumes; the data in /home stays
	@$(EVERY) down --volumes --rmi all --remove-orphans

fclean: ## clean, and delete the site's data (asks for CONFIRM=1)
ifneq ($(CONFIRM),1)
	@echo "this deletes the site in $(DATA); to go on: make fclean CONFIRM=1" >&2; exit 1
else
	@srcs/tools/data erase $(DATA)
	@$(MAKE) --no-print-directory clean
endif

logs: ## what the services print (the last 100 lines of each)
	@$(EVERY) logs --tail 100

ps: ## the containers
	@$(EVERY) ps

status: ## health of each service, address and certificate of the site
	@srcs/tools/status $(DOMAIN)

mail: ## the mails that the site sent (with the bonus services)
	@docker exec mail show

passwords: ## give database and site the passwords that are in secrets/ now
	@srcs/tools/settings new-passwords
	@srcs/tools/passwords

backup: ## save the database and the site's files in FILE (/home/LOGIN/site-TIME.tar.gz)
	@exec srcs/tools/data backup $(DATA) "$(FILE)"

restore: ## replace both by those in FILE=... (asks for CONFIRM=1)
ifneq ($(CONFIRM),1)
	@echo "this replaces the site in $(DATA) by $(FILE); to go on: make restore FILE=$(FILE) CONFIRM=1" >&2; exit 1
else
	@srcs/tools/settings new-passwords
	@srcs/tools/build
	@srcs/tools/certificate $(DOMAIN)
	@srcs/tools/data restore $(DATA) "$(FILE)"
endif

help: ## this list
	@sed -n 's/^\([a-z]*\):[^#]*## /\1	/p' Makefile | expand -t 12
