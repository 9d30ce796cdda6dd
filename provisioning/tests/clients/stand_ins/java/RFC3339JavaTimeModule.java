package provisioning.client;

import com.fasterxml.jackson.databind.module.SimpleModule;

/** The generator's own module extends a class of Jackson's module for java.time. */
public class RFC3339JavaTimeModule extends SimpleModule {
}
